"""`Start`: a server that one call of ``allocate`` starts for itself.

What if we die after each line? Before the create: nothing exists. After it: an unclaimed Pod,
which becomes ready and is adopted by a later allocation of any replica.
"""

from __future__ import annotations

import asyncio

from podfleet.errors import ApiError, PortPoolExhausted
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.claiming.deadline import Deadline
from podfleet.fleet.core import Core
from podfleet.kube.retry import AMBIGUOUS
from podfleet.model import Manifest
from podfleet.model.names import new_server_name
from podfleet.phase import AllocationPhase
from podfleet.waiters.watching import until_ready

__all__ = ["Start"]

_PORT_TRIES = 10
_REFUSED_PAUSE = 1.0  # seconds until numbers that others have are asked for again
_LONGEST_PAUSE = 60.0
"""Such pauses grow to so much where a Pod waits for its numbers meanwhile."""


class Start:
    """Starts servers until one is ready on numbers that nobody refused.

    Args:
        core: The running fleet.
        claim: What the server is to be claimed by.
        deadline: The allocation's.
    """

    def __init__(self, core: Core, claim: Claim, deadline: Deadline) -> None:
        self._core = core
        self._claim = claim
        self._deadline = deadline
        self._numbers: tuple[int, ...] = ()
        self._creating: asyncio.Task[Manifest] | None = None
        self.phase: AllocationPhase | None = None
        """How far it is; ``None`` before its begin. Of a Pod that exists, the Pod tells more."""
        self.begun = False
        """Whether a server was started."""
        self.server: str | None = None
        """The server in the making."""
        self.refused: Manifest | ApiError | None = None
        """What refused the numbers last."""
        self.none_free: PortPoolExhausted | None = None
        """What the pool said when it had no number."""

    async def ready(self) -> Manifest:
        """Create a server and return it, held, once it is ready.

        Cancelled or failed, it leaves `clean_up` to its caller, who may want to look first.

        Raises:
            FleetDraining: The fleet is drained.
        """
        tried: set[int] = set()
        tries = 0
        pause = _REFUSED_PAUSE
        with self._core.ports.watch_freed() as freed:
            while True:
                if freed.is_set():  # perhaps one that was refused already: all are tried again
                    freed.clear()
                    tried.clear()
                    tries = 0
                    pause = _REFUSED_PAUSE
                self._creating = None
                self.phase = AllocationPhase.CREATE
                await self._core.gate.enter()
                pod_name = new_server_name(self._core.spec.name)
                self._numbers = await self._take(pod_name)
                self.server = pod_name
                self.begun = True
                self._core.free.hold(pod_name)
                tried |= set(self._numbers)
                tries += 1
                pod = await self._ready_or_refused(pod_name)
                if pod is None and not (tries < _PORT_TRIES and self._untried(tried)):
                    # A node may join and take this Pod; or a number become free for another, of
                    # which we are told nothing if it was a stranger's, or too early if the
                    # scheduler sees it later than we: so others are tried again, ever more slowly.
                    pod = await self._ready_unless(pod_name, freed, pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                if pod is not None:
                    return pod
                self._core.ports.refuse(pod_name, self._numbers)
                self._core.abandon(pod_name, self._claim)
                self._core.free.let_go(pod_name)
                self.server = None

    def clean_up(self) -> asyncio.Task[None] | None:
        """Remove the server, unless somebody else has it; goes on in the background.

        Not only now: also if a create in flight is carried out late.
        """
        if self.server is None:
            return None
        undoing = self._undo(self.server, self._numbers, self._creating)
        self._core.free.let_go(self.server)
        self.server, self._numbers, self._creating = None, (), None
        return self._core.in_background(undoing)

    async def _take(self, pod_name: str) -> tuple[int, ...]:
        """Return numbers for a Pod as soon as there are any, and nobody waited longer."""
        async with self._core.ports.line:
            while True:
                with self._core.ports.watch_freed() as freed:
                    try:
                        taken = self._core.ports.take(pod_name)
                        self.phase, self.none_free = AllocationPhase.CREATE, None
                        return taken
                    except PortPoolExhausted as error:
                        self.phase, self.none_free = AllocationPhase.QUEUE, error
                    await _wait(freed, _REFUSED_PAUSE)  # another fleet may share the pool

    def _untried(self, tried: set[int]) -> bool:
        pool = self._core.spec.exposure.pool
        return pool is not None and len(tried) < len(pool)

    async def _ready_or_refused(self, pod_name: str) -> Manifest | None:
        """Return the new Pod once it is ready; ``None`` if the cluster refused its numbers."""
        refused = self._core.spec.exposure.refused
        left = self._deadline.left
        # Not cancelled with us: a create in flight would be carried out behind our back.
        self._creating = asyncio.create_task(self._core.create(pod_name, self._numbers, left))
        self._creating.add_done_callback(_see)
        try:
            self._core.exposer.require(await asyncio.shield(self._creating))
        except ApiError as error:
            if not refused(error):
                raise
            self.refused = error
            return None
        if isinstance(self.refused, ApiError):
            self.refused = None  # these numbers are ours
        # Drained since it was read before, and `drain` may have looked before this Pod was there.
        await self._core.gate.enter()
        self.phase = AllocationPhase.SCHEDULE
        pod = await until_ready(self._core.client, self._core.store, pod_name, stop=refused)
        if not refused(pod):
            return pod
        self.refused = pod
        return None

    async def _ready_unless(
        self, pod_name: str, freed: asyncio.Event, pause: float
    ) -> Manifest | None:
        """Return the Pod once it is ready; ``None`` if a number is freed, or the pause is over."""
        if isinstance(self.refused, ApiError):  # a Pod that cannot be exposed
            await _wait(freed, pause)
            return None
        ready = asyncio.ensure_future(until_ready(self._core.client, self._core.store, pod_name))
        other = asyncio.ensure_future(freed.wait())
        try:
            await asyncio.wait({ready, other}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            return ready.result() if ready.done() else None
        finally:
            for waiting in (ready, other):
                waiting.cancel()

    async def _undo(
        self, pod_name: str, numbers: tuple[int, ...], creating: asyncio.Task[Manifest] | None
    ) -> None:
        if creating is not None:
            await asyncio.wait({creating})
            error = creating.exception()
            known = error is not None and not isinstance(error, AMBIGUOUS)
            if known and self._core.store.get(pod_name) is None:
                # Refused: there is no Pod, and no event will free its numbers.
                self._core.ports.give_back(pod_name, numbers)
                return
        elif self._core.store.get(pod_name) is None:
            self._core.ports.give_back(pod_name, numbers)
            return
        await self._core.abandon(pod_name, self._claim)
        if self._core.store.get(pod_name) is None:
            self._core.ports.give_back(pod_name, numbers)


def _see(creating: asyncio.Task[Manifest]) -> None:
    """Have asyncio not complain of an error that nobody waits for any more."""
    if not creating.cancelled():
        creating.exception()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
