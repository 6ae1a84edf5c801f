"""`AsyncFleet`: the public face of the core, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast
from weakref import WeakKeyDictionary

from podfleet.errors import ConfigurationError, NotFound, WaitTimeout
from podfleet.exposure import ExposureStrategy
from podfleet.fleet.arguments import (
    Select,
    asked,
    asked_to_reserve,
    check_bool,
    check_callback,
    check_recycle,
    check_request,
    check_server,
    check_sharing,
    check_state,
)
from podfleet.fleet.claiming.doubt import check_reachable
from podfleet.fleet.core import Core
from podfleet.fleet.events.callbacks import call_with_each
from podfleet.fleet.events.stream import Events, EventStream
from podfleet.fleet.handle import AsyncFleetServer
from podfleet.fleet.pool.packing import Packing
from podfleet.fleet.pool.ranking import Value
from podfleet.fleet.preflight import preflight
from podfleet.fleet.running import Running
from podfleet.fleet.spec import FleetSpec
from podfleet.fleet.tally import Attempt, Tally
from podfleet.fleet.tend import tend
from podfleet.fleet.trace import of_pod, span
from podfleet.kube import Cluster, KubeClient
from podfleet.kube.bounds import bounded
from podfleet.manifests import administration
from podfleet.model import (
    Endpoint,
    Finding,
    FleetStatus,
    GameServer,
    GameServerTemplate,
    Manifest,
    ServerState,
)
from podfleet.model.event import FleetEvent
from podfleet.model.manifest import name_of
from podfleet.model.names import (
    FLEET,
    SLOTS,
    check_server_name,
    check_session,
    check_slots,
)
from podfleet.model.plain import check_seconds
from podfleet.model.rollout import Rollout, RolloutStatus
from podfleet.model.server import values_from_pod
from podfleet.model.slots import has_slots
from podfleet.model.workload import StatefulSet, check_replicas
from podfleet.scaling import Policy
from podfleet.waiters.diagnosis import is_ready

__all__ = ["AsyncFleet"]

_GRACE = 0.2  # seconds after a timeout, for an error that knows more

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _bounded(
    call: Callable[Concatenate[AsyncFleet, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[AsyncFleet, _P], Coroutine[Any, Any, _T]]:
    """End a call that has no timeout of its own when the cluster's is up."""

    @wraps(call)
    async def within(fleet: AsyncFleet, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        async with bounded(fleet.spec.cluster, f"fleet {fleet.name}: {call.__name__}"):
            return await call(fleet, *args, **kwargs)

    return cast("Callable[Concatenate[AsyncFleet, _P], Coroutine[Any, Any, _T]]", within)


class AsyncFleet:
    """Game servers of one kind, one Pod each; every method is awaited.

    Any number of replicas may run a fleet of the same name: the cluster is all they share.
    Used in several event loops, it runs in each of them by itself, with its own watch and
    connections. Stopping it leaves its servers running; a later start finds them again.

    Args:
        name: The fleet's name: a DNS label of up to 52 characters. Servers are named after it.
        template: What every server is made of.
        exposure: How clients reach a server.
        workload: A `StatefulSet`, if the servers are to be its Pods; by default each is a Pod
            made when it is asked for.
        namespace: Where the Pods live; by default the connection's namespace.
        cluster: Which cluster; by default as `Cluster` finds it.
        probe: Dial each server from here before handing it out: ``True`` connects to its TCP
            ports; bytes are sent to its UDP ports too, and must be answered.
        ready: How many free servers to keep, so that ``allocate`` need not wait for one to start: a
            number, or a policy such as ``Buffer("20%")`` or `Demand`, or a function of a `Load`.
            What is too many for a minute is deleted. By default this replica keeps none, and
            leaves alone what others keep.
        packing: Which free server goes first: ``"packed"``, one on the node with the most
            allocated servers, so that other nodes become empty and can go; or ``"spread"``; or a
            function from a server to a number, the lowest first: it is asked whenever a free
            server changes, so that choosing one of ten thousand takes no longer.
        rollout: How free servers of a former template are replaced; by default a quarter at a time.

    Raises:
        ConfigurationError: A wrong argument, named with its value.

    Example:
        >>> from podfleet import AsyncFleet, GameServerTemplate, HostPort, Port, PortPool
        >>> fleet = AsyncFleet(
        ...     "arena",
        ...     template=GameServerTemplate(
        ...         image="ghcr.io/acme/arena:1.4", ports=[Port("game", 7777, "UDP")]
        ...     ),
        ...     exposure=HostPort(PortPool(31000, 31999)),
        ... )
        >>> async def match():
        ...     async with fleet:
        ...         server = await fleet.allocate(session="match-42", timeout=10)
        ...         print(server.endpoint)
        ...         await server.release()
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
        self.spec = FleetSpec(  # not public, but for a group of fleets
            name=name,
            template=template,
            exposure=exposure,
            workload=workload,
            namespace=namespace,
            cluster=Cluster() if cluster is None else cluster,
            probe=probe,
            ready=ready,
            packing=packing,
            rollout=Rollout() if rollout is None else rollout,
        )
        self.tally = Tally()
        """What this fleet has done in this process.

        :meta private:
        """
        self._running_in: WeakKeyDictionary[asyncio.AbstractEventLoop, Running] = (
            WeakKeyDictionary()
        )

    @property
    def name(self) -> str:
        """The fleet's name."""
        return self.spec.name

    @property
    def revision(self) -> str:
        """The present template's: the label ``podfleet.dev/revision`` of its servers."""
        return self.spec.revision

    @property
    def exposure(self) -> ExposureStrategy:
        """How clients reach a server; its ``pool`` tells what is in use."""
        return self.spec.exposure

    def manifests(self, service_account: str | None = None) -> tuple[Manifest, ...]:
        """Return what an administrator applies once: an account, its rights, shared objects.

        Args:
            service_account: The account of the backend, as ``namespace/name``; by default
                ``podfleet-<fleet>`` in the fleet's namespace.

        Returns:
            The ServiceAccount; the Role, ClusterRole and bindings that this very fleet needs,
            and no more; a PodDisruptionBudget, so that ``kubectl drain`` waits for matches; the
            objects that its servers share. Ready for ``kubectl apply``.
        """
        namespace = self.spec.namespace or "default"
        account = service_account or f"{namespace}/podfleet-{self.name}"
        return administration(self.name, namespace, account, self.spec.rules, self.spec.shared)

    @_bounded
    async def preflight(self) -> tuple[Finding, ...]:
        """Return what would keep this fleet from working; writes nothing.

        Looks for missing rights, missing APIs, numbers that the cluster's range does not hold,
        shared objects that differ, and nodes without a usable address; and sends every object that
        the fleet creates as a dry run, so that whatever would refuse it is found: webhooks,
        policies, Pod Security, quotas and so on. A finding with ``advice=True`` is no proof that
        the fleet cannot work.

        Raises:
            PodfleetError: The cluster cannot be asked: no connection, or it does not know us.
        """
        client = KubeClient(self.spec.cluster)
        try:
            connection = await client.connect()
            return await preflight(self.spec, client, self.spec.namespace or connection.namespace)
        finally:
            await client.close()

    async def start(self) -> None:
        """Connect and read the fleet from the cluster; `allocate` and the others do it too.

        Raises:
            ConfigurationError: No cluster is configured, or it is not trusted.
            Forbidden: Rights are missing; the message names them.
            TransportError: The API server cannot be reached.
        """
        await self._running()

    async def stop(self) -> None:
        """End the watch and close the connections; the servers keep running.

        Allocations still under way end with `AllocationError`, and leave nothing behind.
        """
        running = self._running_in.pop(asyncio.get_running_loop(), None)
        if running is not None:
            await running.stop()

    async def run(self) -> None:
        """Tend the fleet, for a process that does nothing else: start it, and stop it at the end.

        A backend need not call it: a fleet that is started is tended. It ends when the process
        gets SIGTERM or SIGINT (Ctrl-C), unless something else handles SIGTERM, as web servers do;
        when its task is cancelled; and when the fleet is stopped. Then another replica tends the
        fleet at once; the servers keep running.

        Raises:
            PodfleetError: The fleet cannot be started; see `start`.

        Example:
            >>> from podfleet import AsyncFleet
            >>> def main(fleet: AsyncFleet) -> None:
            ...     asyncio.run(fleet.run())
        """
        await tend([self])

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
        """Return a ready server that is the caller's alone.

        Takes one that is ready; else it waits in line for the next, and starts one itself if
        more callers wait than servers are on their way. The server is claimed by one JSON patch.
        If this fails, times out or is cancelled, no Pod and no port is left; a server that is
        claimed for a session by then stays, for whoever asks for that session again.

        Args:
            session: What the server is for: 1 to 1,024 characters. Asked again for the same
                session, by whichever replica, the same server is returned.
            timeout: Seconds, for everything together.
            slots: How many slots of a server that several sessions share
                (`GameServerTemplate.slots`): the fullest that has as many free goes first.
            metadata: What the server is to know beside its session: it can read this from
                files (`podfleet.gameserver`).
            limit: Seconds after which the kubelet ends the server (``activeDeadlineSeconds``).
            select: Labels that the server must have; or several such, of which the first counts
                that any ready server has. Of the present template's servers only, unless they
                name another's `revision`.
            prefer: A function from a server to a number: of the ready servers the one with the
                lowest is taken. It is asked about each of them.
            reservation: What `reserve` returned: the server to take.
            labels: Labels to write on the Pod with the claim.
            annotations: Annotations, likewise.
            allow_unreachable: Whether to return the server that the session has though its node
                stopped reporting (``server.unreachable_since``); a warning is logged. With
                ``False`` that raises.

        Returns:
            The server; its ``endpoint`` is what clients dial.

        Raises:
            ServerFailed: Its server will never be ready: ``error.diagnosis`` says why.
            Exhausted: No node has room, or a quota is used up.
            PortPoolExhausted: No port is left that any node has free.
            AllocationTimeout: The time was up; ``error.diagnosis`` has the last status seen.
            Contended: Other replicas were faster each time, until the time was up.
            AllocationError: The reservation has run out.
            FleetDraining: The fleet is drained, and this session has no server.
            ServerUnreachable: See ``allow_unreachable``; the session keeps its server.
            AdmissionRefused: The cluster's policy refused the Pod.
            Forbidden: Rights are missing; the message names them.
            ConfigurationError: A wrong argument, or the node shows no public address.
        """
        check_bool("allow_unreachable", allow_unreachable)
        claim, wish = asked(
            self.spec,
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
        with Attempt(self.tally) as attempt, span("allocate", self.name, session) as traced:
            found = await self.here().allocate(claim, wish, timeout, reservation)
            check_reachable(found.pod, session, allowed=allow_unreachable)
            attempt.warm = found.warm
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
        """Hold a ready server for a moment, for no session yet.

        ``allocate(reservation=server)`` takes it; ``release`` gives it back as it is. When the
        time is up, by the clocks of the machines that ask, it is anybody's again.

        Args:
            seconds: For how long.
            timeout: Seconds to wait for a server.
            select: As for `allocate`.
            prefer: As for `allocate`.

        Returns:
            The server, in the state ``RESERVED``.

        Raises:
            PodfleetError: As `allocate`.
        """
        claim, wish = asked_to_reserve(self.spec, seconds, timeout, select, prefer)
        with span("reserve", self.name) as traced:
            found = await self.here().allocate(claim, wish, timeout)
            traced.tell(found.attributes)
        return self._handle(found.pod, found.endpoints)

    @_bounded
    async def join(
        self, session: str, *, slots: int = 1, request: str | None = None
    ) -> AsyncFleetServer:
        """Take more slots for a session, on the server that it shares with others.

        Args:
            session: The session: it has been allocated.
            slots: How many more.
            request: A name of the caller's for this change, such as the player's: made again
                under the same name, it is made once. The server remembers its last 16 changes.

        Returns:
            Its server.

        Raises:
            NotFound: The session has no server.
            Exhausted: Its server has not as many slots free.
            ConfigurationError: Servers of this fleet are not shared.
        """
        check_sharing(self.spec)
        check_slots("slots", slots)
        check_session(session)
        check_request(request)
        with span("join", self.name, session):
            core = await self._running()
            pod = await core.seats.join(session, slots, request)
            return self._handle(pod, await core.exposer.until_exposed(pod), session)

    @_bounded
    async def leave(
        self, session: str, *, slots: int | None = None, request: str | None = None
    ) -> None:
        """Give a session's slots back. Its server stays for the others; an empty one is free.

        Args:
            session: The session; one that has no server has left already.
            slots: How many; by default all, and then the session is over.
            request: As for `join`.

        Raises:
            ConfigurationError: Servers of this fleet are not shared.
        """
        check_sharing(self.spec)
        if slots is not None:
            check_slots("slots", slots)
        check_session(session)
        check_request(request)
        with span("leave", self.name, session):
            core = await self._running()
            if await core.seats.leave(session, slots, request):
                core.in_background(core.claims.strike(session))

    @_bounded
    async def find(self, session: str) -> AsyncFleetServer | None:
        """Return the server that was allocated for a session, by whichever replica.

        Args:
            session: The session.

        Returns:
            The server, or ``None``: not allocated, released, or ended.
        """
        check_session(session)
        core = await self._running()
        pod = await core.claims.find(session)
        if pod is None:
            return None
        return await self._server(core, pod, fresh=True, session=session)

    @_bounded
    async def get(self, name: str) -> AsyncFleetServer:
        """Return a server by its name.

        Args:
            name: The server's name.

        Raises:
            NotFound: The fleet has no server of that name, whatever else may have it.
            ConfigurationError: No server can have that name.
        """
        check_server_name("name", name)
        core = await self._running()
        pod = core.store.get(name) or await core.read(name)
        if pod is None or core.store.get(name) is None:
            raise self._has_none(core.namespace, name)
        return await self._server(core, pod, fresh=True)

    @_bounded
    async def servers(self, state: ServerState | str | None = None) -> list[AsyncFleetServer]:
        """Return the fleet's servers, oldest first, as the watch shows them.

        Args:
            state: Only those in this state; a `ServerState` or its value.

        Raises:
            ConfigurationError: ``state`` is none.
        """
        wanted = check_state(state)
        core = await self._running()
        servers = [await self._server(core, pod) for pod in core.store]
        servers = [server for server in servers if wanted in (None, server.state)]
        return sorted(servers, key=lambda server: (server.created, server.name))

    @_bounded
    async def status(self) -> FleetStatus:
        """Return how many servers are in which state, and how fresh that is; asks nobody."""
        core = await self._running()
        return core.status

    @_bounded
    async def rollout_status(self) -> RolloutStatus:
        """Return how far the free servers are with the present template: one request.

        Raises:
            ConfigurationError: The servers are a StatefulSet's.
        """
        return await (await self.here().upkeep()).rollout_status()

    @_bounded
    async def pause_rollout(self) -> None:
        """Have no more free servers replaced, by whichever replica, until it is resumed."""
        await (await self.here().upkeep()).hold(True)

    @_bounded
    async def resume_rollout(self) -> None:
        """Go on with a roll-out that was paused."""
        await (await self.here().upkeep()).hold(False)

    @_bounded
    async def roll_out(self) -> None:
        """Make this backend's template the fleet's, though the fleet has had it before.

        A new template becomes the fleet's by itself, when the first replica with it and with
        ``ready=`` starts. Going back to a former one takes this call, by a backend that has it.
        """
        await (await self.here().upkeep()).roll_out()

    async def drain(self, timeout: float | None = None) -> None:
        """Take the fleet out of service, in all replicas: no new matches; those that run go on.

        From now on `allocate` and `reserve` raise `FleetDraining`, also for callers that wait
        in line; free servers are deleted, and no more are made. Sessions that have a server keep
        it: `find`, `join`, `leave` and `release` work as ever. It stands in the cluster, on the
        Lease ``<fleet>-tender``: it goes on though this call is cancelled, times out, or is killed,
        and whichever backend starts meanwhile finds it. Called again, it waits for the same.

        Args:
            timeout: Seconds to wait; ``None`` for as long as the matches take.

        Returns:
            When no match runs any more. The fleet stays drained until `reopen`.

        Raises:
            WaitTimeout: The time was up; the message says how many servers are left.
            DrainEnded: Somebody reopened the fleet, or this one was stopped.
            ConfigurationError: The servers are a StatefulSet's.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        await self.here().drain(timeout)

    @_bounded
    async def reopen(self) -> None:
        """End a `drain`: the fleet is in service again, in all replicas within seconds.

        Raises:
            ConfigurationError: The servers are a StatefulSet's.
        """
        await self.here().reopen()

    def events(self) -> EventStream:
        """Return what happens in the fleet, whichever backend does it, for ``async for``.

        First comes the present state of every server there is: so whoever begins anew learns all
        that still is in the cluster, some of it again. It ends when the fleet is stopped, or
        when it is left. Any number may run at once; each keeps what it has not read yet, without
        a limit.

        Raises:
            PodfleetError: With its first event: the fleet cannot be started; see `start`.
        """
        return EventStream(self._events)

    @_bounded
    async def on_event(self, callback: Callable[[FleetEvent], object]) -> Callable[[], None]:
        """Call a function with each event, as `events` tells them, until the fleet is stopped.

        Args:
            callback: Is called in this event loop, and must not block it. What it raises is
                logged, and the next event comes nevertheless.

        Returns:
            A function that ends it, to be called in this event loop.

        Raises:
            PodfleetError: The fleet cannot be started; see `start`.
            ConfigurationError: ``callback`` is no function.
        """
        check_callback(callback)
        await self.start()
        return call_with_each(self.events(), callback)

    async def reconcile(self, timeout: float = 30.0) -> tuple[str, ...]:
        """Remove what killed backends left, whatever they were doing.

        Safe beside any number of running backends: a server is left behind if it has been ready
        for five seconds and nobody claimed it, or has taken longer to become ready than its
        starter was going to wait; a session's registration, if it has named a server for five
        seconds that was not claimed for the session, or will not be. Over a `StatefulSet`, a mark
        of a scale-down if it has been seen for 30 seconds. Nothing is deleted that was written to
        since it was looked at.

        Args:
            timeout: Seconds to wait until that is known of what there is now.

        Returns:
            The names of the servers deleted.
        """
        check_seconds("timeout", timeout)
        core = await self._running()
        return await core.reconcile(timeout)

    async def scale(self, replicas: int, *, timeout: float = 30.0) -> int:
        """Bring a fleet over a `StatefulSet` to so many servers.

        Servers that are allocated are never taken, and Kubernetes takes Pods by the highest
        number only: the set gets no smaller than the highest allocated number needs. Free
        servers above it go; the rest go at a later call, when that match is over.

        Args:
            replicas: How many there are to be, free and allocated.
            timeout: Seconds, for everything together.

        Returns:
            How many there are to be now; more than asked for, if an allocated one is in the way.

        Raises:
            ConfigurationError: The fleet has no StatefulSet, or ``replicas`` is no number of
                servers.
            Contended: Other backends changed the set each time.
            WaitTimeout: The time was up, and the API server had not answered.
        """
        check_replicas("replicas", replicas)
        check_seconds("timeout", timeout)
        if self.spec.workload is None:
            raise ConfigurationError(
                "Fleet.workload", None, "only a fleet over a StatefulSet has a number of servers"
            )
        limit = asyncio.timeout(timeout + _GRACE)
        try:
            async with limit:
                core = await self._running()
                assert core.replicas is not None
                return await core.replicas.scale(replicas, timeout)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise WaitTimeout(
                f"fleet {self.name}: not brought to {replicas} servers within {timeout:g} s: the "
                "API server did not answer in time: call scale() again"
            ) from error

    @_bounded
    async def release(self, server: GameServer | str, *, recycle: bool = False) -> None:
        """End a match: delete its Pod, or keep it for another. Released twice is released once.

        A deleted server's process gets SIGTERM and its ``terminationGracePeriodSeconds``; its
        port is free again when the Pod is gone (`async_wait_gone`). A recycled one is free again
        when it says so: when its own container has been not ready and is ready again, or has ended
        and been started anew (``restartPolicy: Always``). See `podfleet.gameserver`.

        Args:
            server: The server, or its name. Its match is ended only if it is the same still; by
                name, whichever runs there now. A reserved server is given back as it is.
                Of a server that is shared, only its session leaves.
            recycle: Keep the server. One with a time ``limit`` is deleted nevertheless.

        Raises:
            NotFound: It is not this fleet's: another's, or not one any more. Nothing is done.
            ConfigurationError: No server can have that name.
        """
        check_recycle(recycle)
        if isinstance(server, str):
            check_server_name("server", server)
        elif check_server("server", server).labels.get(FLEET) != self.name:
            raise self._has_none(server.namespace, server.name)
        core = await self._running()
        if isinstance(server, GameServer):
            if server.namespace != core.namespace:
                raise self._has_none(server.namespace, server.name)
            if SLOTS in server.annotations and server.session:
                await self._leave(core, server.session, server.uid)
                return
        with span("release", self.name) as traced:
            pod: Manifest | None
            if isinstance(server, GameServer):
                pod = {
                    "metadata": {
                        "name": server.name,
                        "uid": server.uid,
                        "annotations": dict(server.annotations),
                    }
                }
            else:
                pod = await core.releases.named(server)
            if pod is None:
                return
            traced.tell(of_pod(name_of(pod), core.namespace))
            session = await core.releases.release(pod, keep=recycle)
            if session is not None:
                core.in_background(core.claims.strike(session))

    def here(self) -> Running:
        """Return what runs in this event loop: connections and watches belong to one.

        :meta private:
        """
        loop = asyncio.get_running_loop()
        running = self._running_in.get(loop)
        if running is None:
            running = self._running_in[loop] = Running(self.spec, self.tally)
        return running

    def statuses(self) -> tuple[FleetStatus, ...]:
        """Return the status in each event loop in which the fleet runs; from any thread.

        :meta private:
        """
        # The references are copied at once: in their own threads loops come and go meanwhile.
        loops = [reference() for reference in self._running_in.keyrefs()]
        alive = [loop for loop in loops if loop is not None and not loop.is_closed()]
        runnings = [running for loop in alive if (running := self._running_in.get(loop))]
        return tuple(status for running in runnings if (status := running.status))

    async def _leave(self, core: Core, session: str, uid: str) -> None:
        """End a session's match on this very server of those that it shares with others."""
        check_sharing(self.spec)
        check_session(session, "server.session")
        with span("leave", self.name, session):
            if await core.seats.leave(session, None, None, uid=uid):
                core.in_background(core.claims.strike(session))

    def _has_none(self, namespace: str, name: str) -> NotFound:
        return NotFound(
            f"fleet {self.name} has no server {namespace}/{name}: "
            "fleet.servers() lists those it has",
            status=404,
            reason="NotFound",
        )

    async def _running(self) -> Core:
        return await self.here().start()

    async def _events(self) -> Events:
        return (await self._running()).events

    async def _server(
        self, core: Core, pod: Manifest, *, fresh: bool = False, session: str | None = None
    ) -> AsyncFleetServer:
        return self._handle(pod, await core.exposer.shown(pod, fresh=fresh), session)

    def _handle(
        self, pod: Manifest, endpoints: tuple[Endpoint, ...], session: str | None = None
    ) -> AsyncFleetServer:
        values = values_from_pod(pod, endpoints, ready=is_ready(pod), session=session)
        return AsyncFleetServer(**values, fleet=self)
