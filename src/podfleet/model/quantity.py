"""Quantities, as Kubernetes writes them: ``500m``, ``1.5``, ``256Mi``, ``1e3``. Pure.

From k8s.io/apimachinery's pkg/api/resource/quantity.go and suffix.go; which resources a container
may ask for: pkg/apis/core/validation/validation.go, ValidateContainerResourceRequirements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any, Final

from podfleet.errors import ConfigurationError
from podfleet.model.plain import member

__all__ = ["check_resources", "parse_quantity"]

_QUANTITY = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")
_POWERS: Final = {
    **{suffix: (10, 3 * at) for at, suffix in enumerate(("n", "u", "m"), start=-3)},
    **{suffix: (10, 3 * at) for at, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": (2, 10 * at) for at, suffix in enumerate("KMGTPE", start=1)},
}
# A hundred digits, and exponents that no quantity has: nothing overflows, nothing is expanded.
_EXACT: Final = Context(prec=100, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_LONGEST: Final = 64

_LIKE = "{'requests': {'cpu': '500m'}, 'limits': {'memory': '256Mi'}}"
_OWN = ("cpu", "memory", "ephemeral-storage")
_KINDS = ("limits", "requests")
_ADVICE = f"must be 'requests' or 'limits': {_LIKE}"


def parse_quantity(field: str, value: object) -> Decimal:
    """Return the number that a quantity stands for.

    Raises:
        ConfigurationError: Kubernetes would not read it.

    Example:
        >>> parse_quantity("cpu", "500m"), parse_quantity("memory", "1Ki"), parse_quantity("cpu", 2)
        (Decimal('0.500'), Decimal('1024'), Decimal('2'))
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    text = str(value) if is_number else value
    if isinstance(text, str) and len(text) <= _LONGEST:
        found = _QUANTITY.fullmatch(text.strip())
        if found and text.strip():
            sign, whole, part, suffix = found.groups()
            number = _EXACT.create_decimal(f"{sign}{whole or 0}.{part or 0}".removesuffix(".0"))
            if not suffix:
                return number
            if suffix in _POWERS:
                base, power = _POWERS[suffix]
                factor = Decimal(base) ** power if base == 2 else Decimal(1).scaleb(power)
                return _EXACT.multiply(number, factor)
            power = int(suffix[1:])
            if abs(power) <= 1000:
                return _EXACT.scaleb(number, Decimal(power))
    raise ConfigurationError(
        field, value, "must be a quantity as Kubernetes writes it: '500m', '2', '256Mi', '1.5Gi'"
    )


def check_resources(field: str, resources: Mapping[str, Any]) -> None:
    """Refuse what a container may not ask for.

    Raises:
        ConfigurationError: A name, a quantity, or a request that is above its limit.

    Example:
        >>> check_resources("resources", {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})
        Traceback (most recent call last):
            ...
        podfleet.errors.ConfigurationError: resources.requests.cpu: '2': is above its limit, '1'
    """
    for kind, listed in resources.items():
        where = member(field, kind)
        if kind == "claims":
            if not isinstance(listed, list):
                raise ConfigurationError(where, listed, "must be a list: [{'name': 'gpu'}]")
        elif kind not in _KINDS:
            raise ConfigurationError(field, kind, _ADVICE)
        elif not isinstance(listed, Mapping):
            raise ConfigurationError(where, listed, f"must be a dict of quantities: {_LIKE}")
    limits = {
        name: _amount(member(f"{field}.limits", name), name, value)
        for name, value in (resources.get("limits") or {}).items()
    }
    for name, value in (resources.get("requests") or {}).items():
        where = member(f"{field}.requests", name)
        asked = _amount(where, name, value)
        most = limits.get(name)
        if most is not None and asked > most:
            raise ConfigurationError(
                where, value, f"is above its limit, {resources['limits'][name]!r}"
            )
        if most is not None and asked != most and _is_whole(name):
            raise ConfigurationError(
                where, value, f"must equal its limit, {resources['limits'][name]!r}"
            )


def _amount(field: str, name: str, value: object) -> Decimal:
    if "/" not in name and name not in _OWN and not name.startswith("hugepages-"):
        raise ConfigurationError(
            field,
            name,
            f"no such resource: {', '.join(_OWN)}, hugepages-<size>, or one with a domain "
            "('nvidia.com/gpu')",
        )
    amount = parse_quantity(field, value)
    if amount < 0:
        raise ConfigurationError(field, value, "must be 0 or more")
    if "/" in name and amount != amount.to_integral_value():
        raise ConfigurationError(field, value, "must be a whole number")
    return amount


def _is_whole(name: str) -> bool:
    """Return whether a node gives this resource to one container only (IsOvercommitAllowed)."""
    prefix, slash, _ = name.partition("/")
    native = not slash or prefix == "kubernetes.io" or prefix.endswith(".kubernetes.io")
    return name.startswith("hugepages-") or not native
