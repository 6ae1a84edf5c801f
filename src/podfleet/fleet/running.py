"""`Running`: a fleet in one event loop, with the calls that are under way there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from attrs import define, field

from podfleet.errors import AllocationError, AllocationTimeout
from podfleet.fleet.claiming.allocation import Allocation
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.core import Core
from podfleet.fleet.pool.free import Wish
from podfleet.fleet.spec import FleetSpec
from podfleet.fleet.tending.refill import Refill
from podfleet.fleet.turns import Turns
from podfleet.kube import KubeClient
from podfleet.model import Endpoint, GameServer, Manifest

__all__ = ["START_TIMEOUT", "Allocated", "Running"]

START_TIMEOUT = 30.0  # seconds for the first list

Allocated = tuple[Manifest, tuple[Endpoint, ...]]
"""A claimed Pod and its endpoints."""


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
    """

    def __init__(self, spec: FleetSpec) -> None:
        self._spec = spec
        self._core: Core | None = None
        self._refill: Refill | None = None
        self._starting = asyncio.Lock()
        self._calls: set[_Call] = set()
        self._sessions = Turns()

    async def start(self, timeout: float) -> Core:
        """Connect and read the fleet from the cluster, unless that is done.

        Args:
            timeout: Seconds.
        """
        async with self._starting:
            if self._core is None:
                client = KubeClient(self._spec.cluster)
                connection = await client.connect()
                core = Core(self._spec, client, self._spec.namespace or connection.namespace)
                try:
                    await core.start(timeout)
                except BaseException:
                    await core.stop()
                    raise
                self._core = core
                if self._spec.ready:
                    self._refill = Refill(core)
                    self._refill.start()
            return self._core

    async def stop(self) -> None:
        """End the calls that are under way, then the watch; close the connections."""
        calls = list(self._calls)
        for call in calls:
            call.stopped = True
            call.task.cancel()
        for call in calls:
            await call.over.wait()
        refill, self._refill = self._refill, None
        if refill is not None:
            await refill.stop()
        core, self._core = self._core, None
        if core is not None:
            await core.stop()

    async def allocate(
        self, claim: Claim, wish: Wish, timeout: float, reservation: GameServer | None = None
    ) -> Allocated:
        """Return a claimed server; cancelled, it leaves none."""
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        call = _Call(task)
        self._calls.add(call)
        try:
            return await self._allocate(claim, wish, timeout, reservation)
        except asyncio.CancelledError:
            if call.stopped and task.uncancel() == 0:  # by `stop`, and by nobody else
                raise AllocationError(
                    f"fleet {self._spec.name} was stopped while it allocated: nothing is left"
                ) from None
            raise
        finally:
            self._calls.discard(call)
            call.over.set()

    async def _allocate(
        self, claim: Claim, wish: Wish, timeout: float, reservation: GameServer | None
    ) -> Allocated:
        deadline = asyncio.get_running_loop().time() + timeout
        # Until it is connected, the cause of the delay is known best by what is waited for.
        core = await self.start(min(timeout, START_TIMEOUT))
        async with AsyncExitStack() as stack:
            if claim.session is not None:
                try:
                    async with asyncio.timeout_at(deadline):
                        await stack.enter_async_context(self._sessions.turn(claim.session))
                        if core.claims.shown(claim.session) and (
                            found := await core.claims.find(claim.session)
                        ):
                            # Its Service or route may have been deleted behind our back.
                            return found, await core.exposer.until_exposed(found, fresh=True)
                except TimeoutError:
                    raise AllocationTimeout(
                        f"fleet {self._spec.name}: within {timeout:g} s the API server did not "
                        f"answer, another call for session {claim.session!r} was not done, or the "
                        "endpoint of its server was not known"
                    ) from None
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            return await Allocation(core, claim, wish, left, reservation).run()
