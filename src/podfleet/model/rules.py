"""`Rule`: one right that podfleet needs in the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.model.plain import check_flag, check_text, each

__all__ = ["Rule"]


def _texts(name: str, value: object, like: str) -> tuple[str, ...]:
    where = f"Rule.{name}"
    return tuple(check_text(where, one) for one in each(where, value, like))


def _resources(value: Iterable[str]) -> tuple[str, ...]:
    return _texts("resources", value, "('pods', 'pods/log')")


def _verbs(value: Iterable[str]) -> tuple[str, ...]:
    return _texts("verbs", value, "('get', 'list')")


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return _texts("names", value, "('arena',)")


def _check_text(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None or attribute.default is not None:
        check_text(f"Rule.{attribute.name}", value)


@frozen
class Rule:
    """One rule of RBAC.

    Args:
        group: The API group; ``""`` for the core one.
        resources: The resources: ``("pods", "pods/log")``.
        verbs: What may be done: ``("get", "list")``.
        names: Only objects of these names; by default of any.
        namespace: The namespace; by default the fleet's own.
        cluster: Whether the resources belong to no namespace, as Nodes do.
        optional: What is lost without it, in words; by default it is needed.

    Raises:
        ConfigurationError: A field of another type.

    Example:
        >>> Rule("", ("services",), ("get",), names=("arena",)).to_manifest()
        {'apiGroups': [''], 'resources': ['services'], 'verbs': ['get'], 'resourceNames': ['arena']}
    """

    group: str = field(validator=_check_text)
    resources: tuple[str, ...] = field(converter=_resources)
    verbs: tuple[str, ...] = field(converter=_verbs)
    names: tuple[str, ...] = field(default=(), converter=_names)
    namespace: str | None = field(default=None, validator=_check_text)
    cluster: bool = field(default=False)
    optional: str = field(default="", validator=_check_text)

    @cluster.validator
    def _check_cluster(self, _: Attribute[Any], value: object) -> None:
        check_flag("Rule.cluster", value)

    def to_manifest(self) -> dict[str, Any]:
        """Return the rule as a Role or ClusterRole spells it."""
        return {
            "apiGroups": [self.group],
            "resources": list(self.resources),
            "verbs": list(self.verbs),
            **({"resourceNames": list(self.names)} if self.names else {}),
        }
