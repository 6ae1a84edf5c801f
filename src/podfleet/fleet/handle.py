"""`AsyncFleetServer`: a `GameServer` that can be given back."""

from __future__ import annotations

from typing import Protocol

from attrs import field, fields, frozen

from podfleet.model import GameServer

__all__ = ["AsyncFleetServer", "values_of"]


class _Releases(Protocol):
    async def release(self, server: GameServer, *, recycle: bool = False) -> None: ...


@frozen(kw_only=True)
class AsyncFleetServer(GameServer):
    """A `GameServer` of an `AsyncFleet`."""

    _fleet: _Releases = field(repr=False, eq=False)

    async def release(self, *, recycle: bool = False) -> None:
        """End the match: see `AsyncFleet.release`."""
        await self._fleet.release(self, recycle=recycle)


def values_of(server: GameServer) -> dict[str, object]:
    """Return the fields of a server, to make one of its subclasses."""
    return {item.name: getattr(server, item.name) for item in fields(GameServer)}
