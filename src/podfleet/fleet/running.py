"""`Running`: a fleet in one event loop, with the calls that are under way there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field

from podfleet.errors import (
    AllocationError,
    AllocationTimeout,
    ConfigurationError,
    DrainEnded,
    PodfleetError,
    TransportError,
    WaitTimeout,
)
from podfleet.fleet.claiming.asking import Allocated, Asking
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.claiming.deadline import Deadline
from podfleet.fleet.claiming.members import Members
from podfleet.fleet.core import Core
from podfleet.fleet.pool.free import Wish
from podfleet.fleet.spec import FleetSpec
from podfleet.fleet.tally import Tally
from podfleet.fleet.tending.upkeep import Upkeep
from podfleet.kube import KubeClient, Progress, Stage
from podfleet.kube.progress import follow
from podfleet.model import FleetStatus, GameServer
from podfleet.phase import AllocationPhase

__all__ = ["Running"]

_STOP_PATIENCE = 1.0  # seconds that a start, or a load of credentials, may go on in a stop
_PHASES = {
    Stage.CREDENTIALS: AllocationPhase.CREDENTIALS,
    Stage.CONNECT: AllocationPhase.CONNECT,
}

_NOT_DRAINED = (
    "a fleet over a StatefulSet is not drained: it has no Lease on which that would stand. Stop "
    "allocating, and scale(0) again and again: it takes free servers only"
)


@define(eq=False)
class _Call:
    """A call that is under way, in its caller's own task."""

    task: asyncio.Task[Any]
    over: asyncio.Event = field(factory=asyncio.Event)
    stopped: bool = False


class Running:
    """A fleet in one event loop.

    Args:
        spec: What the fleet was asked to be.
        tally: Counts what is done.
    """

    def __init__(self, spec: FleetSpec, tally: Tally) -> None:
        self._spec = spec
        self._tally = tally
        self._core: Core | None = None
        self._upkeep: Upkeep | None = None
        self._starting: asyncio.Task[Core] | None = None
        self._waiting = 0  # callers that wait for the start
        self._progress = Progress()  # the start's
        self._listing = Progress()
        self._calls: set[_Call] = set()
        self._asking = Asking()
        self.stopped = asyncio.Event()
        """Whether `stop` has been called, and is done."""

    @property
    def status(self) -> FleetStatus | None:
        """What the watch has shown; ``None`` if there is none. From any thread."""
        core = self._core
        return None if core is None else core.status

    async def start(self, timeout: float | None = None) -> Core:
        """Connect and read the fleet from the cluster, unless that is done.

        All who wait share one start. It goes on when a waiter's time is up, since the next call
        needs it too; when the last waiter is cancelled, it is cancelled.

        Args:
            timeout: Seconds to wait; by default as long as a start may take.

        Raises:
            TransportError: The time was up.
            PodfleetError: The fleet cannot be started.
        """
        core = await self._core_within(timeout)
        if core is None:
            raise TransportError(f"{self._seen()[1]}: given up after {timeout:g} s")
        return core

    async def _core_within(self, timeout: float | None) -> Core | None:
        """Return what `start` does; ``None`` if the time is up."""
        if self._core is not None:
            return self._core
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._see)
        starting = self._starting
        self._waiting += 1
        try:
            await asyncio.wait({starting}, timeout=timeout)
        except asyncio.CancelledError:
            if self._waiting == 1:
                starting.cancel()
                await asyncio.wait({starting})
            raise
        finally:
            self._waiting -= 1
        if not starting.done():
            return None
        if starting.cancelled():
            raise TransportError(f"fleet {self._spec.name} was stopped while it was started")
        return starting.result()

    async def started(self, deadline: Deadline, who: str | None = None) -> Core:
        """Return what `start` does, within an allocation's time.

        Args:
            deadline: The allocation's.
            who: Who allocates, in the error; by default this fleet.

        Raises:
            AllocationTimeout: The time was up.
            TransportError: So it was, and each connection was refused until then.
        """
        core = await self._core_within(deadline.left)
        if core is None:
            if (refused := self._listing.unconnected) is not None:
                raise refused  # there is no API server to wait for
            phase, words = self._seen()
            said = deadline.said(who or f"fleet {self._spec.name}")
            raise AllocationTimeout(f"{said}: {words}", phase=phase)
        return core

    def _see(self, starting: asyncio.Task[Core]) -> None:
        self._starting = None
        if not starting.cancelled():
            starting.exception()  # asyncio is not to complain if nobody waits any more

    def _seen(self) -> tuple[AllocationPhase, str]:
        """Return how far the start is, and what it waits for."""
        own, listing = self._progress, self._listing
        stage = listing.stage or own.stage or Stage.ANSWER
        words = str(listing) or str(own) or "nothing has failed so far"
        phase = _PHASES.get(stage, AllocationPhase.LIST)
        return phase, f"fleet {self._spec.name} was still being started: {words}"

    async def _start(self) -> Core:
        self._progress, self._listing = Progress(), Progress()
        limit = self._spec.cluster.timeout
        try:
            async with asyncio.timeout(limit):
                with follow(self._progress):
                    return await self._connected()
        except TimeoutError:
            words = self._seen()[1]
            raise TransportError(f"{words}: given up after {limit:g} s") from None

    async def _connected(self) -> Core:
        client = KubeClient(self._spec.cluster)
        try:
            connection = await client.connect()
        except BaseException:
            await client.close()
            raise
        namespace = self._spec.namespace or connection.namespace
        core = Core(self._spec, client, namespace, self._tally)
        self._listing = core.listing
        # A StatefulSet is tended by its own controller.
        upkeep = Upkeep(core) if self._spec.workload is None else None
        try:
            await core.start(self._spec.cluster.timeout)
        except BaseException:
            await core.stop()
            raise
        self._core = core
        if upkeep is not None:
            self._upkeep = upkeep
            upkeep.start()
        return core

    async def upkeep(self, otherwise: str = "a StatefulSet is rolled out by Kubernetes") -> Upkeep:
        """Return what tends the fleet here; start it first, unless that is done.

        Args:
            otherwise: What to say of a fleet over a StatefulSet.

        Raises:
            ConfigurationError: Nothing does: its servers are a StatefulSet's.
        """
        await self.start()
        if self._upkeep is None:
            raise ConfigurationError("Fleet.workload", self._spec.workload, otherwise)
        return self._upkeep

    async def stop(self) -> None:
        """End the calls that are under way, then the watch; close the connections."""
        if self._core is not None:  # a plugin that hangs would keep all from ending
            self._core.client.hurry(_STOP_PATIENCE)
        calls = list(self._calls)
        for call in calls:
            call.stopped = True
            call.task.cancel()
        for call in calls:
            await call.over.wait()
        if self._starting is not None:  # what is being started is stopped too
            starting = self._starting
            await asyncio.wait({starting}, timeout=_STOP_PATIENCE)
            starting.cancel()
            await asyncio.wait({starting})
        upkeep, self._upkeep = self._upkeep, None
        if upkeep is not None:
            await upkeep.stop()
        core, self._core = self._core, None
        if core is not None:
            await core.stop()
        self.stopped.set()

    async def allocate(
        self, claim: Claim, wish: Wish, timeout: float, reservation: GameServer | None = None
    ) -> Allocated:
        """Return a claimed server; cancelled, it leaves none."""
        deadline = Deadline.after(timeout)
        with self.under_way(), follow(deadline.progress):
            core = await self.started(deadline)
            members = Members(f"fleet {self._spec.name}", core.claims, (core,))
            return await self._asking.allocate(members, claim, wish, deadline, reservation)

    async def drain(self, timeout: float | None) -> None:
        """Take the fleet out of service: see `AsyncFleet.drain`."""
        stopped = DrainEnded(
            f"fleet {self._spec.name} was stopped while it was drained: it is drained still"
        )
        deadline = None if timeout is None else Deadline.after(timeout)
        with self.under_way(stopped):
            if await self._core_within(timeout) is None:
                raise WaitTimeout(f"not drained within {timeout:g} s: {self._seen()[1]}")
            await (await self.upkeep(_NOT_DRAINED)).drain(deadline)

    async def reopen(self) -> None:
        """Put the fleet back into service: see `AsyncFleet.reopen`."""
        await (await self.upkeep(_NOT_DRAINED)).reopen()

    @contextmanager
    def under_way(self, stopped: PodfleetError | None = None) -> Iterator[None]:
        """Have `stop` end what this block does, and wait for its clean-up.

        Args:
            stopped: What to raise if it does, unless it is an allocation.

        Raises:
            PodfleetError: `stop` ended it.
        """
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        call = _Call(task)
        self._calls.add(call)
        try:
            yield
        except asyncio.CancelledError:
            if call.stopped and task.uncancel() == 0:  # by `stop`, and by nobody else
                raise stopped or AllocationError(
                    f"fleet {self._spec.name} was stopped while it allocated: nothing is left"
                ) from None
            raise
        finally:
            self._calls.discard(call)
            call.over.set()
