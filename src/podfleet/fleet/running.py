"""`Running`: a fleet in one event loop, with the calls that are under way there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field

from podfleet.errors import AllocationError, ConfigurationError, DrainEnded, PodfleetError
from podfleet.fleet.claiming.asking import Allocated, Asking
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.claiming.deadline import Deadline
from podfleet.fleet.claiming.members import Members
from podfleet.fleet.core import Core
from podfleet.fleet.pool.free import Wish
from podfleet.fleet.spec import FleetSpec
from podfleet.fleet.tally import Tally
from podfleet.fleet.tending.upkeep import Upkeep
from podfleet.kube import KubeClient
from podfleet.model import FleetStatus, GameServer

__all__ = ["START_TIMEOUT", "Running"]

START_TIMEOUT = 30.0  # seconds for the first list

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
        self._starting = asyncio.Lock()
        self._calls: set[_Call] = set()
        self._asking = Asking()
        self.stopped = asyncio.Event()
        """Whether `stop` has been called, and is done."""

    @property
    def status(self) -> FleetStatus | None:
        """What the watch has shown; ``None`` if there is none. From any thread."""
        core = self._core
        return None if core is None else core.status

    async def start(self, timeout: float) -> Core:
        """Connect and read the fleet from the cluster, unless that is done.

        Args:
            timeout: Seconds.
        """
        async with self._starting:
            if self._core is None:
                client = KubeClient(self._spec.cluster)
                connection = await client.connect()
                namespace = self._spec.namespace or connection.namespace
                core = Core(self._spec, client, namespace, self._tally)
                # A StatefulSet is tended by its own controller.
                upkeep = Upkeep(core) if self._spec.workload is None else None
                try:
                    await core.start(timeout)
                except BaseException:
                    await core.stop()
                    raise
                self._core = core
                if upkeep is not None:
                    self._upkeep = upkeep
                    upkeep.start()
            return self._core

    async def upkeep(self, otherwise: str = "a StatefulSet is rolled out by Kubernetes") -> Upkeep:
        """Return what tends the fleet here; start it first, unless that is done.

        Args:
            otherwise: What to say of a fleet over a StatefulSet.

        Raises:
            ConfigurationError: Nothing does: its servers are a StatefulSet's.
        """
        await self.start(START_TIMEOUT)
        if self._upkeep is None:
            raise ConfigurationError("Fleet.workload", self._spec.workload, otherwise)
        return self._upkeep

    async def stop(self) -> None:
        """End the calls that are under way, then the watch; close the connections."""
        calls = list(self._calls)
        for call in calls:
            call.stopped = True
            call.task.cancel()
        for call in calls:
            await call.over.wait()
        async with self._starting:  # what is being started is stopped too
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
        with self.under_way():
            # Until it is connected, the cause of the delay is known best by what is waited for.
            core = await self.start(min(timeout, START_TIMEOUT))
            members = Members(f"fleet {self._spec.name}", core.claims, (core,))
            return await self._asking.allocate(members, claim, wish, deadline, reservation)

    async def drain(self, timeout: float | None) -> None:
        """Take the fleet out of service: see `AsyncFleet.drain`."""
        stopped = DrainEnded(
            f"fleet {self._spec.name} was stopped while it was drained: it is drained still"
        )
        with self.under_way(stopped):
            await (await self.upkeep(_NOT_DRAINED)).drain(timeout)

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
