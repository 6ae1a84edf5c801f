"""`FleetStatus`: what a replica knows of its fleet at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from attrs import field, frozen

from podfleet.model.server import ServerState

__all__ = ["FleetStatus"]


def _frozen(value: Mapping[ServerState, int]) -> Mapping[ServerState, int]:
    return MappingProxyType({state: value.get(state, 0) for state in ServerState})


@frozen(kw_only=True)
class FleetStatus:
    """What a replica knows of its fleet at one moment, from memory.

    Attributes:
        servers: How many servers are in each state.
        synced: Whether a whole list has been read since the start.
        age: Seconds since the API server was last heard; a quiet fleet is heard about once a
            minute. Much more, and the numbers are old: the connection is broken.
        waiting: How many callers of this replica wait for a server.
        drained_since: Since when the fleet is drained, if it is (`Fleet.drain`), as this replica
            knows: it looks once a minute, and more often while it has to do with it.
    """

    servers: Mapping[ServerState, int] = field(converter=_frozen)
    synced: bool
    age: float
    waiting: int
    drained_since: datetime | None = None
