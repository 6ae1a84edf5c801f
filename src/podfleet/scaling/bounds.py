"""``min`` and ``max``: how many servers there are at least and at most. Pure."""

from __future__ import annotations

from typing import Any, Protocol

from attrs import Attribute

from podfleet.errors import ConfigurationError
from podfleet.model.workload import check_replicas
from podfleet.scaling.load import Load

__all__ = ["check_max", "check_min", "within"]


class _Bounded(Protocol):
    @property
    def min(self) -> int: ...

    @property
    def max(self) -> int | None: ...


def check_min(policy: object, _: Attribute[Any], value: int) -> None:
    """Refuse what is no least number of servers: an attrs validator."""
    check_replicas(f"{type(policy).__name__}.min", value)


def check_max(policy: _Bounded, _: Attribute[Any], value: int | None) -> None:
    """Refuse what is no largest number of servers: an attrs validator, after ``min``'s."""
    name = f"{type(policy).__name__}.max"
    if value is not None and check_replicas(name, value) < policy.min:
        raise ConfigurationError(name, value, f"is below min, {policy.min}")


def within(bounds: _Bounded, load: Load, free: int) -> int:
    """Return the number of free servers next to this one that keeps all servers in bounds.

    Allocated servers stay: where they alone are too many, none is to be free.
    """
    free = max(free, bounds.min - load.allocated)
    if bounds.max is not None:
        free = min(free, bounds.max - load.allocated)
    return max(free, 0)
