"""`FleetGroup`: the sync face of `AsyncFleetGroup`. No logic of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from podfleet.errors import ConfigurationError
from podfleet.fleet import AsyncFleetGroup
from podfleet.fleet.arguments import Select
from podfleet.fleet.handle import values_of
from podfleet.model import GameServer
from podfleet.model.plain import each
from podfleet.sync.fleet import Fleet, FleetServer
from podfleet.sync.portal import portal
from podfleet.sync.tend import run_until_told

__all__ = ["FleetGroup"]


class FleetGroup:
    """Several fleets of which one call allocates: `AsyncFleetGroup` for code that does not await.

    Args:
        name: The group's name, the same in every replica: see `AsyncFleetGroup`.
        fleets: The fleets, the first one first.
        weights: How much of what is asked goes first to each fleet; by default all to the first.

    Raises:
        ConfigurationError: A wrong argument, named with its value.

    Example:
        >>> from podfleet import Fleet, FleetGroup, GameServerTemplate, HeadlessDNS, Port
        >>> def version(name, image):
        ...     shape = GameServerTemplate(image=image, ports=[Port("game", 7777, "UDP")])
        ...     return Fleet(name, template=shape, exposure=HeadlessDNS())
        >>> stable = version("arena-stable", "ghcr.io/acme/arena:1.4")
        >>> canary = version("arena-canary", "ghcr.io/acme/arena:1.5")
        >>> group = FleetGroup("arena", [stable, canary], weights=[95, 5])
        >>> def match():
        ...     with group:
        ...         print(group.allocate("match-42", timeout=10).endpoint)
    """

    def __init__(
        self, name: str, fleets: Sequence[Fleet], *, weights: Sequence[float] | None = None
    ) -> None:
        self._fleets: tuple[Fleet, ...] = each("FleetGroup.fleets", fleets, "[stable, canary]")
        for fleet in self._fleets:
            if not isinstance(fleet, Fleet):
                raise ConfigurationError("FleetGroup.fleets", fleet, "must be a Fleet")
        self._name = name
        self._weights = weights
        self._process = os.getpid()
        self._group = self._made()

    @property
    def name(self) -> str:
        """The group's name."""
        return self._name

    @property
    def fleets(self) -> tuple[Fleet, ...]:
        """Its fleets, the first one first."""
        return self._fleets

    def start(self) -> None:
        """Start all fleets."""
        portal.run(self.own().start())

    def stop(self) -> None:
        """Stop all fleets; their servers keep running."""
        portal.run(self.own().stop())

    def run(self) -> None:
        """Tend all fleets and do nothing else: see `Fleet.run`."""
        run_until_told(self.own().run())

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def allocate(
        self,
        session: str | None = None,
        *,
        timeout: float = 60.0,
        slots: int = 1,
        metadata: Mapping[str, str] | None = None,
        limit: float | None = None,
        select: Select | None = None,
        prefer: Callable[[GameServer], float] | None = None,
        reservation: GameServer | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        allow_unreachable: bool = True,
    ) -> FleetServer:
        """Return a ready server of one of the fleets: see `AsyncFleetGroup.allocate`."""
        server = portal.run(
            self.own().allocate(
                session,
                timeout=timeout,
                slots=slots,
                metadata=metadata,
                limit=limit,
                select=select,
                prefer=prefer,
                reservation=reservation,
                labels=labels,
                annotations=annotations,
                allow_unreachable=allow_unreachable,
            )
        )
        return self._handle(server)

    def reserve(
        self,
        seconds: float,
        *,
        timeout: float = 60.0,
        select: Select | None = None,
        prefer: Callable[[GameServer], float] | None = None,
    ) -> FleetServer:
        """Hold a ready server of one of the fleets: see `AsyncFleet.reserve`."""
        server = portal.run(
            self.own().reserve(seconds, timeout=timeout, select=select, prefer=prefer)
        )
        return self._handle(server)

    def join(self, session: str, *, slots: int = 1, request: str | None = None) -> FleetServer:
        """Take more slots for a session: see `AsyncFleet.join`."""
        return self._handle(portal.run(self.own().join(session, slots=slots, request=request)))

    def leave(self, session: str, *, slots: int | None = None, request: str | None = None) -> None:
        """Give a session's slots back: see `AsyncFleet.leave`."""
        portal.run(self.own().leave(session, slots=slots, request=request))

    def find(self, session: str) -> FleetServer | None:
        """Return the server of a session, or ``None``: see `AsyncFleetGroup.find`."""
        server = portal.run(self.own().find(session))
        return None if server is None else self._handle(server)

    def release(self, server: GameServer, *, recycle: bool = False) -> None:
        """End a match: see `AsyncFleetGroup.release`."""
        portal.run(self.own().release(server, recycle=recycle))

    def drain(self, timeout: float | None = None) -> None:
        """Take all fleets out of service: see `AsyncFleetGroup.drain`."""
        portal.run(self.own().drain(timeout))

    def reopen(self) -> None:
        """Put all fleets back into service: see `AsyncFleetGroup.reopen`."""
        portal.run(self.own().reopen())

    def _made(self) -> AsyncFleetGroup:
        own = [fleet.own() for fleet in self._fleets]
        return AsyncFleetGroup(self._name, own, weights=self._weights)

    def own(self) -> AsyncFleetGroup:
        """Return this process's own: see `Fleet.own`.

        :meta private:
        """
        if self._process != os.getpid():
            self._group = self._made()
            self._process = os.getpid()
        return self._group

    def _handle(self, server: GameServer) -> FleetServer:
        return FleetServer(**values_of(server), fleet=self)  # type: ignore[arg-type]
