"""The arguments of a fleet's methods, checked before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from podfleet.errors import ConfigurationError
from podfleet.fleet.pool.free import Wish
from podfleet.fleet.pool.packing import Selector
from podfleet.model import GameServer, ServerState
from podfleet.model.names import check_label

__all__ = ["Select", "check_recycle", "check_seconds", "check_state", "check_wish"]

Select: TypeAlias = Mapping[str, str] | Sequence[Mapping[str, str]]
"""Labels that a server must have, or several such, the best first."""

_SELECT = "must be labels ({'map': 'desert'}), or a list of them"
_LONGEST = 2**31 - 1  # seconds: activeDeadlineSeconds is an int32


def check_seconds(name: str, value: float) -> float:
    """Return a number of seconds if it is one, above 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= _LONGEST:
        raise ConfigurationError(
            name, value, f"must be a number of seconds above 0, at most {_LONGEST}"
        )
    return value


def check_wish(
    select: Select | None,
    prefer: Callable[[GameServer], float] | None,
    slots: int,
    *,
    ordered: bool,
) -> Wish:
    """Return which server these arguments ask for, or refuse them.

    Args:
        select: As ``allocate`` was given it.
        prefer: Likewise.
        slots: Likewise.
        ordered: Whether the fleet's servers have an order of their own: a StatefulSet's.
    """
    if ordered and (select is not None or prefer is not None):
        name, value = ("select", select) if select is not None else ("prefer", prefer)
        raise ConfigurationError(
            name, value, "a fleet over a StatefulSet takes its lowest free server"
        )
    if prefer is not None and not callable(prefer):
        raise ConfigurationError("prefer", prefer, "must be a function from a server to a number")
    if isinstance(select, str):
        raise ConfigurationError("select", select, _SELECT)
    wanted = [select] if isinstance(select, Mapping) else list(select or [{}])
    return Wish([_selector(one) for one in wanted] or [frozenset()], prefer, slots)


def _selector(labels: object) -> Selector:
    if not isinstance(labels, Mapping):
        raise ConfigurationError("select", labels, _SELECT)
    for key, value in labels.items():
        check_label("select", key, value)
    return frozenset(labels.items())


def check_recycle(value: object) -> bool:
    """Return whether a server is to be kept."""
    if not isinstance(value, bool):
        raise ConfigurationError("recycle", value, "must be True or False")
    return value


def check_state(state: ServerState | str | None) -> ServerState | None:
    """Return the state that servers are asked for in; ``None`` for any."""
    if state is None:
        return None
    try:
        return ServerState(state)
    except ValueError:
        known = ", ".join(member.value for member in ServerState)
        raise ConfigurationError("state", state, f"must be one of {known}") from None
