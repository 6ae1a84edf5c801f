"""The arguments of a fleet's methods, checked before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from podfleet.errors import ConfigurationError
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.pool.free import Wish
from podfleet.fleet.pool.packing import Selector
from podfleet.fleet.spec import FleetSpec
from podfleet.model import GameServer, ServerState
from podfleet.model.names import (
    check_annotations,
    check_label,
    check_labels,
    check_metadata,
    check_server_name,
    check_session,
    check_slots,
)
from podfleet.model.plain import check_seconds

__all__ = [
    "Select",
    "asked",
    "asked_to_reserve",
    "check_bool",
    "check_callback",
    "check_recycle",
    "check_request",
    "check_server",
    "check_sharing",
    "check_state",
]

Select: TypeAlias = Mapping[str, str] | Sequence[Mapping[str, str]]
"""Labels that a server must have, or several such, the best first."""

_SELECT = "must be labels ({'map': 'desert'}), or a list of them"


def asked(
    spec: FleetSpec,
    session: str | None,
    *,
    timeout: float,
    slots: int = 1,
    metadata: Mapping[str, str] | None = None,
    limit: float | None = None,
    select: Select | None = None,
    prefer: Callable[[GameServer], float] | None = None,
    reservation: GameServer | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> tuple[Claim, Wish]:
    """Return what ``allocate`` is to write, and on which server, or refuse its arguments."""
    check_seconds("timeout", timeout)
    if reservation is not None:
        check_server("reservation", reservation)
    _check_shared(spec, slots, [metadata, limit, labels, annotations, reservation])
    claim = Claim(
        session=None if session is None else check_session(session),
        slots=slots,
        labels={} if labels is None else check_labels("labels", labels),
        annotations={} if annotations is None else check_annotations("annotations", annotations),
        metadata={} if metadata is None else check_metadata("metadata", metadata),
        limit=None if limit is None else check_seconds("limit", limit),
    )
    return claim, _wish(spec, select, prefer, slots)


def asked_to_reserve(
    spec: FleetSpec,
    seconds: float,
    timeout: float,
    select: Select | None,
    prefer: Callable[[GameServer], float] | None,
) -> tuple[Claim, Wish]:
    """Return what ``reserve`` is to write, and on which server, or refuse its arguments."""
    check_seconds("timeout", timeout)
    _check_shared(spec, 1, [seconds])
    return Claim(reserve=check_seconds("seconds", seconds)), _wish(spec, select, prefer, 1)


def check_callback(callback: object) -> None:
    """Refuse what cannot be called with an event."""
    if not callable(callback):
        raise ConfigurationError("callback", callback, "must be a function that takes an event")


def check_sharing(spec: FleetSpec) -> None:
    """Refuse ``join`` and ``leave`` where no sessions share a server."""
    if spec.template.slots is None:
        raise ConfigurationError(
            "GameServerTemplate.slots",
            None,
            "no sessions share a server of this fleet: set it to the slots of a server",
        )


def check_request(value: str | None) -> str | None:
    """Return a caller's own name for a change, if it is one."""
    return None if value is None else check_session(value, "request")


def _check_shared(spec: FleetSpec, slots: int, others: Sequence[object]) -> None:
    """Refuse what does not go together: a shared server is not one session's alone."""
    most = spec.template.slots or 1
    if check_slots("slots", slots) > most:
        raise ConfigurationError("slots", slots, f"a server of this fleet has {most} slot(s)")
    given = [value for value in others if value is not None]
    if spec.template.slots is not None and given:
        raise ConfigurationError(
            "allocate",
            given[0],
            "a server that sessions share has no labels, metadata, time or reservation of one",
        )


def _wish(
    spec: FleetSpec,
    select: Select | None,
    prefer: Callable[[GameServer], float] | None,
    slots: int,
) -> Wish:
    """Return which server these arguments ask for, or refuse them."""
    if spec.workload is not None and (select is not None or prefer is not None):
        name, value = ("select", select) if select is not None else ("prefer", prefer)
        raise ConfigurationError(
            name, value, "a fleet over a StatefulSet takes its lowest free server"
        )
    if prefer is not None and not callable(prefer):
        raise ConfigurationError("prefer", prefer, "must be a function from a server to a number")
    if select is None:
        return Wish(prefer=prefer, slots=slots)
    wanted = [select] if isinstance(select, Mapping) else _several(select)
    return Wish([_selector(one) for one in wanted] or [frozenset()], prefer, slots)


def _several(select: object) -> list[object]:
    if isinstance(select, str) or not isinstance(select, Sequence):
        raise ConfigurationError("select", select, _SELECT)
    return list(select)


def _selector(labels: object) -> Selector:
    if not isinstance(labels, Mapping):
        raise ConfigurationError("select", labels, _SELECT)
    for key, value in labels.items():
        check_label("select", key, value)
    return frozenset(labels.items())


def check_recycle(value: object) -> bool:
    """Return whether a server is to be kept."""
    return check_bool("recycle", value)


def check_bool(field: str, value: object) -> bool:
    """Return a value if it is true or false."""
    if not isinstance(value, bool):
        raise ConfigurationError(field, value, "must be True or False")
    return value


def check_server(field: str, value: object) -> GameServer:
    """Return a server if it is one whose name a Pod can have."""
    if not isinstance(value, GameServer):
        raise ConfigurationError(field, value, "must be a GameServer")
    check_server_name(f"{field}.name", value.name)
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
