"""`Running`: a fleet in one event loop, with the calls that are under way there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from podfleet.errors import AllocationError, AllocationTimeout
from podfleet.fleet.claiming.allocation import Allocation
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.claiming.protocol import Discard
from podfleet.fleet.core import Core
from podfleet.fleet.pool.free import Wish
from podfleet.fleet.spec import FleetSpec
from podfleet.fleet.tending.refill import Refill
from podfleet.fleet.turns import Turns
from podfleet.kube import KubeClient
from podfleet.model import Endpoint, GameServer, Manifest

__all__ = ["START_TIMEOUT", "Allocated", "Running"]

START_TIMEOUT = 30.0  # seconds for the first list
_CANCEL_PATIENCE = 10.0  # seconds that a cancelled caller waits for its clean-up

Allocated = tuple[Manifest, tuple[Endpoint, ...]]
"""A claimed Pod and its endpoints."""


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
        self._allocations: set[asyncio.Task[Allocated]] = set()
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
        allocations = list(self._allocations)
        for task in allocations:
            task.cancel()
        if allocations:
            await asyncio.wait(allocations)
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
        task = asyncio.create_task(self._allocate(claim, wish, timeout, reservation))
        self._allocations.add(task)
        task.add_done_callback(self._allocations.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise AllocationError(
                    f"fleet {self._spec.name} was stopped while it allocated: nothing is left"
                ) from None
            await self._give_up(task, claim)
            raise

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

    async def _give_up(self, task: asyncio.Task[Allocated], claim: Claim) -> None:
        """End an allocation that nobody waits for, with all it made."""
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_PATIENCE)
        came_through = task.done() and not task.cancelled() and task.exception() is None
        # Whoever asks for its session again is to find it; without one nobody has this server.
        if came_through and claim.session is None and self._core is not None:
            await self._core.claims.carry_out(Discard(task.result()[0]), claim)
