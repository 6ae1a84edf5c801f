"""`Fleet`: the sync face of `AsyncFleet`. No logic of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from attrs import field, frozen

from podfleet.exposure import ExposureStrategy
from podfleet.fleet import AsyncFleet
from podfleet.fleet.arguments import Select, check_callback
from podfleet.fleet.handle import values_of
from podfleet.fleet.pool.packing import Packing
from podfleet.fleet.pool.ranking import Value
from podfleet.kube import Cluster
from podfleet.model import (
    Finding,
    FleetStatus,
    GameServer,
    GameServerTemplate,
    Manifest,
    ServerState,
)
from podfleet.model.event import FleetEvent
from podfleet.model.rollout import Rollout, RolloutStatus
from podfleet.model.workload import StatefulSet
from podfleet.scaling import Policy
from podfleet.sync.events import EventIterator, call_with_each
from podfleet.sync.portal import portal
from podfleet.sync.tend import run_until_told

__all__ = ["Fleet", "FleetServer"]


class _Releases(Protocol):
    def release(self, server: GameServer, *, recycle: bool = False) -> None: ...


@frozen(kw_only=True)
class FleetServer(GameServer):
    """A `GameServer` of a `Fleet`, or of a `FleetGroup`."""

    _fleet: _Releases = field(repr=False, eq=False)

    def release(self, *, recycle: bool = False) -> None:
        """End the match: see `AsyncFleet.release`."""
        self._fleet.release(self, recycle=recycle)


class Fleet:
    """Game servers of one kind, one Pod each: `AsyncFleet` for code that does not await.

    Safe from any number of threads. It works in pre-forking servers: a fleet made before the
    ``fork`` starts anew in each worker, with its own thread, watch and connections.

    Args:
        name: The fleet's name: a DNS label of up to 52 characters. Servers are named after it.
        template: What every server is made of.
        exposure: How clients reach a server.
        workload: A `StatefulSet`, if the servers are to be its Pods: see `AsyncFleet`.
        namespace: Where the Pods live; by default the connection's namespace.
        cluster: Which cluster; by default as `Cluster` finds it.
        probe: Dial each server before handing it out: see `AsyncFleet`.
        ready: How many free servers to keep: a number or a policy, see `AsyncFleet`.
        packing: Which free server goes first: see `AsyncFleet`.
        rollout: How free servers of a former template are replaced: see `AsyncFleet`.

    Raises:
        ConfigurationError: A wrong argument, named with its value.

    Example:
        >>> from podfleet import Fleet, GameServerTemplate, HostPort, Port, PortPool
        >>> fleet = Fleet(
        ...     "arena",
        ...     template=GameServerTemplate(
        ...         image="ghcr.io/acme/arena:1.4", ports=[Port("game", 7777, "UDP")]
        ...     ),
        ...     exposure=HostPort(PortPool(31000, 31999)),
        ... )
        >>> def match():
        ...     with fleet:
        ...         server = fleet.allocate(session="match-42", timeout=10)
        ...         print(server.endpoint)
        ...         server.release()
    """

    def __init__(
        self,
        name: str,
        *,
        template: GameServerTemplate,
        exposure: ExposureStrategy,
        workload: StatefulSet | None = None,
        namespace: str | None = None,
        cluster: Cluster | None = None,
        probe: bool | bytes = False,
        ready: Policy | None = None,
        packing: Packing | Value = "packed",
        rollout: Rollout | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {
            "name": name,
            "template": template,
            "exposure": exposure,
            "workload": workload,
            "namespace": namespace,
            "cluster": cluster,
            "probe": probe,
            "ready": ready,
            "packing": packing,
            "rollout": rollout,
        }
        self._fleet = AsyncFleet(**self._settings)
        self._process = os.getpid()
        self._inherited: list[AsyncFleet] = []

    @property
    def name(self) -> str:
        """The fleet's name."""
        return self._fleet.name

    @property
    def revision(self) -> str:
        """The present template's: the label ``podfleet.dev/revision`` of its servers."""
        return self._fleet.revision

    @property
    def exposure(self) -> ExposureStrategy:
        """How clients reach a server; its ``pool`` tells what is in use."""
        return self._fleet.exposure

    def manifests(self, service_account: str | None = None) -> tuple[Manifest, ...]:
        """Return what an administrator applies once: see `AsyncFleet.manifests`."""
        return self._fleet.manifests(service_account)

    def preflight(self) -> tuple[Finding, ...]:
        """Return what would keep this fleet from working: see `AsyncFleet.preflight`."""
        return portal.run(self.own().preflight())

    def start(self) -> None:
        """Connect and read the fleet from the cluster: see `AsyncFleet.start`."""
        portal.run(self.own().start())

    def stop(self) -> None:
        """End the watch; the servers keep running: see `AsyncFleet.stop`."""
        portal.run(self.own().stop())

    def run(self) -> None:
        """Tend the fleet and do nothing else, until SIGTERM or Ctrl-C: see `AsyncFleet.run`.

        In a thread that is not the main one it ends when another calls `stop`.
        """
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
        """Return a ready server that is the caller's alone: see `AsyncFleet.allocate`.

        Interrupted by Ctrl-C it leaves no Pod and no port, then raises `KeyboardInterrupt`.
        """
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
        """Hold a ready server for a moment: see `AsyncFleet.reserve`."""
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
        """Return the server of a session, or ``None``: see `AsyncFleet.find`."""
        server = portal.run(self.own().find(session))
        return None if server is None else self._handle(server)

    def get(self, name: str) -> FleetServer:
        """Return a server by its name: see `AsyncFleet.get`."""
        return self._handle(portal.run(self.own().get(name)))

    def servers(self, state: ServerState | str | None = None) -> list[FleetServer]:
        """Return the fleet's servers, oldest first: see `AsyncFleet.servers`."""
        return [self._handle(server) for server in portal.run(self.own().servers(state))]

    def status(self) -> FleetStatus:
        """Return how many servers are in which state: see `AsyncFleet.status`."""
        return portal.run(self.own().status())

    def rollout_status(self) -> RolloutStatus:
        """Return how far a roll-out is: see `AsyncFleet.rollout_status`."""
        return portal.run(self.own().rollout_status())

    def pause_rollout(self) -> None:
        """Have no more free servers replaced: see `AsyncFleet.pause_rollout`."""
        portal.run(self.own().pause_rollout())

    def resume_rollout(self) -> None:
        """Go on with a roll-out: see `AsyncFleet.resume_rollout`."""
        portal.run(self.own().resume_rollout())

    def roll_out(self) -> None:
        """Make this backend's template the fleet's again: see `AsyncFleet.roll_out`."""
        portal.run(self.own().roll_out())

    def drain(self, timeout: float | None = None) -> None:
        """Take the fleet out of service, in all replicas: see `AsyncFleet.drain`.

        Ctrl-C ends the waiting; the fleet is drained still.
        """
        portal.run(self.own().drain(timeout))

    def reopen(self) -> None:
        """End a drain: see `AsyncFleet.reopen`."""
        portal.run(self.own().reopen())

    def events(self) -> Iterator[FleetEvent]:
        """Return what happens in the fleet, for ``for``: see `AsyncFleet.events`.

        Ctrl-C interrupts it.
        """
        return EventIterator(self.own().events())

    def on_event(self, callback: Callable[[FleetEvent], object]) -> Callable[[], None]:
        """Call a function with each event: see `AsyncFleet.on_event`.

        It is called in a thread of its own, one event after the other: it may call the fleet.
        """
        self.start()
        check_callback(callback)
        return call_with_each(EventIterator(self.own().events()), callback)

    def reconcile(self, timeout: float = 30.0) -> tuple[str, ...]:
        """Remove what killed backends left: see `AsyncFleet.reconcile`."""
        return portal.run(self.own().reconcile(timeout))

    def scale(self, replicas: int, *, timeout: float = 30.0) -> int:
        """Bring a fleet over a `StatefulSet` to so many servers: see `AsyncFleet.scale`."""
        return portal.run(self.own().scale(replicas, timeout=timeout))

    def release(self, server: GameServer | str, *, recycle: bool = False) -> None:
        """End a match: see `AsyncFleet.release`."""
        portal.run(self.own().release(server, recycle=recycle))

    def own(self) -> AsyncFleet:
        """Return this process's own fleet: a connection must not be used on both sides of a fork.

        The parent's is kept, for if it were collected here it would shut down TLS on sockets
        that the parent still uses.

        :meta private:
        """
        if self._process != os.getpid():
            self._inherited.append(self._fleet)
            self._fleet = AsyncFleet(**self._settings)
            self._process = os.getpid()
        return self._fleet

    def own_if_any(self) -> AsyncFleet | None:
        """Return this process's own fleet; ``None`` if it was forked and has not used it yet.

        :meta private:
        """
        return self._fleet if self._process == os.getpid() else None

    def _handle(self, server: GameServer) -> FleetServer:
        return FleetServer(**values_of(server), fleet=self)  # type: ignore[arg-type]
