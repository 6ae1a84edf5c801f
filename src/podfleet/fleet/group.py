"""`AsyncFleetGroup`: several fleets in one call: versions, modes, a canary; awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

from podfleet.errors import ConfigurationError
from podfleet.fleet.arguments import (
    Select,
    asked,
    asked_to_reserve,
    check_bool,
    check_request,
    check_sharing,
)
from podfleet.fleet.claiming.asking import Allocated, Asking
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.claiming.claims import Claims
from podfleet.fleet.claiming.deadline import Deadline
from podfleet.fleet.claiming.doubt import check_reachable
from podfleet.fleet.claiming.members import Members
from podfleet.fleet.claiming.seats import Seats
from podfleet.fleet.claiming.views import Views
from podfleet.fleet.core import Core
from podfleet.fleet.fleet import AsyncFleet
from podfleet.fleet.handle import AsyncFleetServer
from podfleet.fleet.pool.free import Wish
from podfleet.fleet.pool.weights import Weights
from podfleet.fleet.tally import Attempt
from podfleet.fleet.tend import tend
from podfleet.fleet.trace import span
from podfleet.kube.bounds import bounded
from podfleet.kube.progress import follow
from podfleet.model import Endpoint, GameServer, Manifest
from podfleet.model.names import FLEET, SLOTS, check_fleet_name, check_session, check_slots
from podfleet.model.plain import each
from podfleet.model.server import values_from_pod
from podfleet.model.slots import has_slots
from podfleet.waiters.diagnosis import is_ready

__all__ = ["AsyncFleetGroup"]


class AsyncFleetGroup:
    """Several fleets of which one call allocates; every method is awaited.

    A server is taken of the first fleet that has one free, in the group's order. If none has, the
    caller waits in all their lines at once; the first fleet starts a server if one is to be
    started, and if it cannot (its image does not run, no node has room), the next does.

    A session has one server in the whole group: it meets under the group's name. So allocate a
    session either of the group or of one of its fleets, and always of the same.

    Starting the group starts its fleets, and stopping it stops them.

    Args:
        name: The group's name, the same in every replica: a DNS label of up to 52 characters,
            which no fleet in the namespace has.
        fleets: The fleets, the first one first: of one namespace and one cluster.
        weights: How much of what is asked goes first to each fleet; by default all to the first. A
            session always goes first to the same one, whichever replica is asked.

    Raises:
        ConfigurationError: A wrong argument, named with its value.

    Example:
        >>> from podfleet import AsyncFleet, AsyncFleetGroup, GameServerTemplate, HeadlessDNS, Port
        >>> def version(name, image):
        ...     shape = GameServerTemplate(image=image, ports=[Port("game", 7777, "UDP")])
        ...     return AsyncFleet(name, template=shape, exposure=HeadlessDNS())
        >>> stable = version("arena-stable", "ghcr.io/acme/arena:1.4")
        >>> canary = version("arena-canary", "ghcr.io/acme/arena:1.5")
        >>> group = AsyncFleetGroup("arena", [stable, canary], weights=[95, 5])
        >>> async def match():
        ...     async with group:
        ...         server = await group.allocate("match-42", timeout=10)
        ...         print(server.labels["podfleet.dev/fleet"], server.endpoint)
    """

    def __init__(
        self,
        name: str,
        fleets: Sequence[AsyncFleet],
        *,
        weights: Sequence[float] | None = None,
    ) -> None:
        self._name = check_fleet_name("FleetGroup.name", name)
        self._fleets: tuple[AsyncFleet, ...] = each("FleetGroup.fleets", fleets, "[stable, canary]")
        _check(name, self._fleets)
        self._weights = Weights.of(weights, len(self._fleets))
        self._asking: WeakKeyDictionary[asyncio.AbstractEventLoop, Asking] = WeakKeyDictionary()

    @property
    def name(self) -> str:
        """The group's name."""
        return self._name

    @property
    def fleets(self) -> tuple[AsyncFleet, ...]:
        """Its fleets, the first one first."""
        return self._fleets

    async def start(self) -> None:
        """Start all fleets: see `AsyncFleet.start`."""
        await self._cores()

    async def stop(self) -> None:
        """Stop all fleets; their servers keep running: see `AsyncFleet.stop`."""
        await asyncio.gather(*(fleet.stop() for fleet in self._fleets))

    async def run(self) -> None:
        """Tend all fleets, for a process that does nothing else: see `AsyncFleet.run`."""
        await tend(self._fleets)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    async def allocate(
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
    ) -> AsyncFleetServer:
        """Return a ready server of one of the fleets, that is the caller's alone.

        The arguments, and what is raised, are those of `AsyncFleet.allocate`; what is selected or
        preferred is looked for in one fleet after the other. If every fleet fails, the first
        one's error is raised, with the others' as notes.

        Returns:
            The server; its label ``podfleet.dev/fleet`` says which fleet it is of.
        """
        check_bool("allow_unreachable", allow_unreachable)
        (claim, wish), *_ = [
            asked(
                fleet.spec,
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
            )
            for fleet in self._fleets
        ]
        counted = Attempt(self._fleets[0].tally)
        with counted as attempt, span("allocate", self._name, session) as traced:
            found, core = await self._allocate(claim, wish, timeout, reservation)
            check_reachable(found.pod, session, allowed=allow_unreachable)
            attempt.tally, attempt.warm = core.tally, found.warm
            traced.tell(found.attributes)
        session_shown = claim.key if has_slots(found.pod) else None
        return self._handle(found.pod, found.endpoints, session_shown)

    async def reserve(
        self,
        seconds: float,
        *,
        timeout: float = 60.0,
        select: Select | None = None,
        prefer: Callable[[GameServer], float] | None = None,
    ) -> AsyncFleetServer:
        """Hold a ready server of one of the fleets for a moment: see `AsyncFleet.reserve`."""
        (claim, wish), *_ = [
            asked_to_reserve(fleet.spec, seconds, timeout, select, prefer) for fleet in self._fleets
        ]
        with span("reserve", self._name) as traced:
            found, _ = await self._allocate(claim, wish, timeout)
            traced.tell(found.attributes)
        return self._handle(found.pod, found.endpoints)

    async def join(
        self, session: str, *, slots: int = 1, request: str | None = None
    ) -> AsyncFleetServer:
        """Take more slots for a session, on the server that it has: see `AsyncFleet.join`."""
        self._check_sharing()
        check_slots("slots", slots)
        check_session(session)
        check_request(request)
        with span("join", self._name, session):
            async with self._bounded("join"):
                members = self._members(await self._cores())
                pod = await Seats(members.claims).join(session, slots, request)
                shown = await members.of(pod).exposer.until_exposed(pod)
        return self._handle(pod, shown, session)

    async def leave(
        self, session: str, *, slots: int | None = None, request: str | None = None
    ) -> None:
        """Give a session's slots back: see `AsyncFleet.leave`."""
        self._check_sharing()
        if slots is not None:
            check_slots("slots", slots)
        check_session(session)
        check_request(request)
        with span("leave", self._name, session):
            async with self._bounded("leave"):
                members = self._members(await self._cores())
                left = await Seats(members.claims).leave(session, slots, request)
            if left:
                self._strike(members, session)

    async def find(self, session: str) -> AsyncFleetServer | None:
        """Return the server that was allocated for a session, or ``None``.

        Args:
            session: The session.
        """
        check_session(session)
        async with self._bounded("find"):
            members = self._members(await self._cores())
            pod = await members.claims.find(session)
            if pod is None:
                return None
            shown = await members.of(pod).exposer.shown(pod, fresh=True)
        return self._handle(pod, shown, session)

    async def release(self, server: GameServer, *, recycle: bool = False) -> None:
        """End a match: see `AsyncFleet.release`.

        Args:
            server: A server of one of the fleets.
            recycle: Keep it for another match.

        Raises:
            ConfigurationError: It is none of theirs.
        """
        fleet = self._fleet_of(server)
        await fleet.release(server, recycle=recycle)
        if server.session is not None and (recycle or SLOTS in server.annotations):
            self._strike(self._members(await self._cores()), server.session)

    async def drain(self, timeout: float | None = None) -> None:
        """Take all fleets out of service, at once: see `AsyncFleet.drain`.

        Of a group with one fleet drained, the others serve.

        Args:
            timeout: Seconds to wait; ``None`` for as long as the matches take.

        Raises:
            PodfleetError: As `AsyncFleet.drain`; of several fleets' errors the first one's.
        """
        await _all(fleet.drain(timeout) for fleet in self._fleets)

    async def reopen(self) -> None:
        """Put all fleets back into service: see `AsyncFleet.reopen`."""
        await _all(fleet.reopen() for fleet in self._fleets)

    def _fleet_of(self, server: GameServer) -> AsyncFleet:
        own = server.labels.get(FLEET) if isinstance(server, GameServer) else None
        for fleet in self._fleets:
            if fleet.name == own:
                return fleet
        raise ConfigurationError(
            "server", server, f"must be a server of {' or '.join(one.name for one in self._fleets)}"
        )

    def _check_sharing(self) -> None:
        for fleet in self._fleets:
            check_sharing(fleet.spec)

    @staticmethod
    def _strike(members: Members, session: str) -> None:
        """Remove a session's registration, which is over though its Pod is not."""
        members.cores[0].in_background(members.claims.strike(session))

    async def _allocate(
        self, claim: Claim, wish: Wish, timeout: float, reservation: GameServer | None = None
    ) -> tuple[Allocated, Core]:
        """Return a claimed server, and the fleet that it is of."""
        loop = asyncio.get_running_loop()
        deadline = Deadline.after(timeout)
        asking = self._asking.setdefault(loop, Asking())
        with ExitStack() as stack:
            for fleet in self._fleets:
                stack.enter_context(fleet.here().under_way())
            stack.enter_context(follow(deadline.progress))
            who = f"group {self._name}"
            cores = [await fleet.here().started(deadline, who) for fleet in self._fleets]
            members = self._members(cores, claim.session)
            found = await asking.allocate(members, claim, wish, deadline, reservation)
        return found, members.of(found.pod)

    def _bounded(self, call: str) -> AbstractAsyncContextManager[None]:
        """End a call that has no timeout of its own when the cluster's is up."""
        return bounded(self._fleets[0].spec.cluster, f"group {self._name}: {call}")

    async def _cores(self) -> list[Core]:
        return [await fleet.here().start() for fleet in self._fleets]

    def _members(self, cores: Sequence[Core], session: str | None = None) -> Members:
        """Return the fleets in the order in which they are asked for a session."""
        views = Views({core.spec.name: core.store for core in cores})
        guard = cores[0].guard.of(*views.stores)
        claims = Claims(self._name, cores[0].namespace, guard, views)
        ordered = [cores[at] for at in self._weights.order(self._name, session)]
        return Members(f"group {self._name}", claims, ordered)

    def _handle(
        self, pod: Manifest, endpoints: tuple[Endpoint, ...], session: str | None = None
    ) -> AsyncFleetServer:
        values = values_from_pod(pod, endpoints, ready=is_ready(pod), session=session)
        return AsyncFleetServer(**values, fleet=self)


async def _all(works: Iterable[Awaitable[None]]) -> None:
    """Return when all are done; raise what the first of them raised."""
    for error in await asyncio.gather(*works, return_exceptions=True):
        if error is not None:
            raise error


def _check(name: str, fleets: Sequence[AsyncFleet]) -> None:
    """Refuse fleets that cannot be one group."""

    def refuse(value: object, advice: str) -> ConfigurationError:
        return ConfigurationError("FleetGroup.fleets", value, advice)

    if not fleets:
        raise refuse(fleets, "must be one fleet at least")
    for fleet in fleets:
        if not isinstance(fleet, AsyncFleet):
            raise refuse(fleet, "must be an AsyncFleet")
        if fleet.spec.workload is not None:
            raise refuse(fleet.name, "a fleet over a StatefulSet cannot be in a group")
    names = [fleet.name for fleet in fleets]
    if len({name, *names}) <= len(names):
        raise refuse(names, f"must have names of their own, and none the group's, {name!r}")
    first = fleets[0].spec
    for spec in (fleet.spec for fleet in fleets[1:]):
        if (spec.namespace, spec.cluster) != (first.namespace, first.cluster):
            raise refuse(spec.name, "is not in the namespace and cluster of the first one")
        if (spec.template.slots is None) != (first.template.slots is None):
            raise refuse(spec.name, "sessions share the servers of all fleets, or of none")
