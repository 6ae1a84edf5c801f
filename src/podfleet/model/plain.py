"""JSON values that a caller gives: copied, and checked with the path of what is wrong. Pure.

What reaches the API server is JSON in UTF-8. A set, a date, NaN, a lone surrogate or a list that
holds itself would fail only when the request is written; here it is found where it was given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from podfleet.errors import ConfigurationError

__all__ = ["check_flag", "check_seconds", "check_text", "each", "member", "plain", "plain_mapping"]

_DEEPEST: Final = 64  # levels; a Pod has at most 15 of its own
_LARGEST: Final = 2**63  # what Go reads into an int64
_LONGEST_TIME: Final = 2**31 - 1  # seconds: activeDeadlineSeconds is an int32
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def member(path: str, key: object) -> str:
    """Return the path of one member, as a person would write it.

    Example:
        >>> member("pod", "spec"), member("pod.containers", 0), member("labels", "a/b")
        ('pod.spec', 'pod.containers[0]', "labels['a/b']")
    """
    if isinstance(key, str) and len(key) <= 63 and _WORD.fullmatch(key):
        return f"{path}.{key}"
    return f"{path}[{key!r}]" if isinstance(key, str | int) else f"{path}[...]"


def check_text(field: str, value: object, advice: str = "must be a string") -> str:
    """Return the string if UTF-8 can write it.

    A lone surrogate is half of a character: JSON could carry it, UTF-8 cannot.
    """
    if not isinstance(value, str):
        raise ConfigurationError(field, value, advice)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            field, value, f"holds {value[error.start]!r}, half of a character: UTF-8 has none"
        ) from None
    return str.__str__(value)


def check_flag(field: str, value: object) -> bool:
    """Return the value if it is True or False, and not merely something that is true."""
    if not isinstance(value, bool):
        raise ConfigurationError(field, value, "must be True or False")
    return value


def check_seconds(field: str, value: object) -> float:
    """Return a number of seconds if it is one, above 0."""
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 < value <= _LONGEST_TIME
    ):
        return value
    raise ConfigurationError(
        field, value, f"must be a number of seconds above 0, at most {_LONGEST_TIME}"
    )


def plain(field: str, value: object, levels: int = _DEEPEST) -> Any:
    """Return a copy that consists of dicts, lists, strings, numbers, booleans and ``None``.

    Args:
        field: The argument, as the caller spelled it; the path in the error starts with it.
        value: What was given; any `Mapping` becomes a dict, a tuple a list.
        levels: How deep it may be.

    Raises:
        ConfigurationError: Something in it is no JSON; the field is its path.

    Example:
        >>> plain("pod", {"spec": {"nodes": {"a"}}})
        Traceback (most recent call last):
            ...
        podfleet.errors.ConfigurationError: pod.spec.nodes: {'a'}: must be a dict, list, string, \
number, True, False or None: it is a set
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return check_text(field, value)
    if isinstance(value, int):
        if not -_LARGEST <= value < _LARGEST:
            raise ConfigurationError(field, value, "must fit into 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigurationError(field, value, "must be finite: JSON has no such number")
        return float(value)
    if not isinstance(value, Mapping | list | tuple):
        raise ConfigurationError(
            field,
            value,
            "must be a dict, list, string, number, True, False or None: "
            f"it is a {type(value).__name__}",
        )
    if levels == 0:
        raise ConfigurationError(field, type(value).__name__, f"is more than {_DEEPEST} deep")
    if not isinstance(value, Mapping):
        return [plain(member(field, at), one, levels - 1) for at, one in enumerate(value)]
    return {
        check_text(field, key, "keys must be strings"): plain(member(field, key), one, levels - 1)
        for key, one in value.items()
    }


def plain_mapping(field: str, value: object, like: str) -> dict[str, Any]:
    """Return a copy of a mapping; an empty one for ``None``.

    Args:
        field: The argument, as the caller spelled it.
        value: What was given.
        like: An example, for the error.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(field, value, f"must be a dict: {like}")
    copied: dict[str, Any] = plain(field, value)
    return copied


def each(field: str, value: object, like: str) -> tuple[Any, ...]:
    """Return the items of a list, or of anything else that has some; none for ``None``.

    A string has characters, and a dict has keys: neither is what a caller means by several.

    Args:
        field: The argument, as the caller spelled it.
        value: What was given.
        like: An example, for the error.
    """
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ConfigurationError(field, value, f"must be a list: {like}")
    try:
        return tuple(value)
    except Exception as error:  # an iterable of the caller's: its failure is not ours
        raise ConfigurationError(field, value, f"cannot be listed: {error!r}") from error
