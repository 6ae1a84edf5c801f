"""`Works`: carries out what the tender has decided: servers are made, replaced and removed.

What if we die after each line? A Pod without its Service is attached by whoever claims it; what is
short, too many or of no use is seen by the next tender.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from podfleet.errors import ApiError
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.core import Core
from podfleet.fleet.tally import Removal
from podfleet.fleet.tending.reason import Reason
from podfleet.fleet.tending.tender import Tender
from podfleet.model import Manifest
from podfleet.model.manifest import name_of, uid_of
from podfleet.model.names import new_server_name

__all__ = ["AT_ONCE", "Works"]

_log = logging.getLogger(__name__)

AT_ONCE = 8  # writes in flight
_GOING = 60.0  # seconds for which what was deleted is not deleted again: it may be seen late
_TOO_MANY = {Removal.SURPLUS, Removal.DRAINED}


class Works:
    """Makes and removes servers, a few at once.

    Args:
        core: The running fleet.
        tender: Knows whether it still is this replica's turn.
    """

    def __init__(self, core: Core, tender: Tender) -> None:
        self._core = core
        self._tender = tender
        self._going: dict[str, float] = {}
        self.made = 0
        """Servers made in this round."""
        self.created = float("-inf")
        """When the last one was made, on this machine's own clock."""
        self._tried = 0  # deletes
        self.removed = 0
        """Servers that were deleted, ever."""
        self.spared = 0
        """Servers deleted in this round because they were too many."""

    def begin(self) -> None:
        """Begin a round."""
        self.made = self.spared = 0

    @property
    def going(self) -> frozenset[str]:
        """The UIDs of what was deleted of late, and may still be seen."""
        now = time.monotonic()
        self._going = {uid: until for uid, until in self._going.items() if until > now}
        return frozenset(self._going)

    async def remove(self, servers: Iterable[tuple[Manifest, Reason]]) -> bool:
        """Delete servers as they were seen: whatever is written on one since then spares it.

        Returns:
            Whether that made a difference: one was deleted, or none was to be.
        """
        before, tried = self.removed, self._tried
        await _all(partial(self._remove, pod, why) for pod, why in servers)
        return self.removed > before or self._tried == tried

    async def create(self, count: int, allowed: Callable[[], int]) -> None:
        """Make so many servers, as far as that is allowed, and while it is this replica's turn.

        Args:
            count: How many.
            allowed: Returns how many may be made now.
        """
        left, making = count, 0
        asking = asyncio.Lock()  # one of them asks whose turn it is, for all

        async def one_after_the_other() -> None:
            nonlocal left, making
            while True:
                async with asking:
                    is_ours = await self._tender.take()
                if not is_ours or left <= 0 or allowed() <= making:
                    return
                left, making = left - 1, making + 1
                try:
                    await self._make()
                except BaseException:
                    left = 0  # what one fails at, the others mostly would too
                    raise
                finally:
                    making -= 1

        await _all([one_after_the_other] * AT_ONCE)

    def replace(self, name: str) -> None:
        """Remove a server whose numbers others have; goes on in the background."""
        pod = self._core.store.get(name)
        if pod is not None:
            self._core.ports.refuse(name, self._core.spec.exposure.held_ports(pod))
            self._core.abandon(name, Claim())

    async def _make(self) -> None:
        core = self._core
        name = new_server_name(core.spec.name)
        numbers = core.ports.take(name)
        try:
            await core.create(name, numbers, None)
            self.made += 1
            self.created = time.monotonic()
        except ApiError as error:
            if core.spec.exposure.refused(error):
                core.ports.refuse(name, numbers)
            elif core.store.get(name) is None:
                core.ports.give_back(name, numbers)
            core.abandon(name, Claim())
            raise
        except BaseException:
            core.in_background(self._undo(name, numbers))  # it may be carried out late, unexposed
            raise

    async def _undo(self, name: str, numbers: tuple[int, ...]) -> None:
        """Remove what may have been made; if nothing was, no event frees its numbers."""
        await self._core.abandon(name, Claim())
        if self._core.store.get(name) is None:
            self._core.ports.give_back(name, numbers)

    async def _remove(self, pod: Manifest, why: Reason) -> None:
        core, name = self._core, name_of(pod)
        if name in core.free.held:
            return  # a caller here is about to claim it
        core.free.hold(name)
        self._tried += 1
        try:
            if await core.delete_unchanged(pod):
                self.removed += 1
                self._going[uid_of(pod)] = time.monotonic() + _GOING
                core.tally.removed(why.kind)
                self.spared += why.kind in _TOO_MANY
                _log.info("%s/%s: deleted: %s", core.namespace, name, why, extra=core.about(name))
        finally:
            core.free.let_go(name)


async def _all(works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Do all, so many at once; raise what one of them raised when all are done."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(work: Callable[[], Awaitable[None]]) -> None:
        async with room:
            await work()

    done = await asyncio.gather(*map(one, works), return_exceptions=True)
    for error in done:
        if isinstance(error, BaseException):
            raise error
