"""`Refill`: keeps as many free servers as the fleet is to have ready.

What if we die after each line? A Pod without its Service is attached by whoever claims it; a pool
that is short is filled by the next tender.
"""

from __future__ import annotations

import asyncio
import logging
import random

from podfleet.errors import ApiError, PodfleetError
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.core import Core
from podfleet.fleet.tending.tender import Tender
from podfleet.kube import Change
from podfleet.kube.retry import pause
from podfleet.model.names import new_server_name

__all__ = ["Refill"]

_log = logging.getLogger(__name__)

_AT_ONCE = 8  # creates in flight
_PAUSE = (0.5, 30.0)  # seconds, doubled from one failure to the next
_OTHERS_TURN = (1.0, 2.0)  # seconds until it is asked again whose turn it is


class Refill:
    """Creates servers that are anybody's, when it is this replica's turn.

    Args:
        core: The running fleet.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tender = Tender(core.spec.name, core.namespace, core.client)
        self._changed = asyncio.Event()
        self._refused: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._core.store.listen(self._follow)
        self._changed.set()
        self._task = asyncio.create_task(
            self._run(), name=f"podfleet refill {self._core.spec.name}"
        )

    async def stop(self) -> None:
        """End, and let another replica go on."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task})
        try:
            await self._tender.give_back()
        except PodfleetError as error:
            _log.debug("fleet %s: its Lease runs out by itself: %s", self._core.spec.name, error)

    @property
    def _missing(self) -> int:
        return self._core.spec.ready - self._core.free.offered

    def _follow(self, change: Change) -> None:
        name, after = change.name, change.after
        self._refused.discard(name)
        is_refused = after is not None and self._core.spec.exposure.refused(after)
        if is_refused and self._core.free.offers(name):
            self._refused.add(name)
        if self._missing > 0 or self._refused:
            self._changed.set()

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._missing <= 0 and not self._refused:
                continue
            try:
                if not await self._tender.take():
                    await asyncio.sleep(random.uniform(*_OTHERS_TURN))
                    self._changed.set()
                    continue
                failures = 0 if await self._fill() else failures + 1
            except PodfleetError as error:
                failures += 1
                _log.warning("fleet %s: not refilled yet: %s", self._core.spec.name, error)
            except Exception:  # a bug here must not leave the fleet empty: say it, and go on
                failures += 1
                _log.exception("fleet %s: refilling failed unexpectedly", self._core.spec.name)
            if failures:
                await asyncio.sleep(pause(failures, _PAUSE))
            self._changed.set()

    async def _fill(self) -> bool:
        """Create what is missing; return whether the cluster took it all."""
        refused = set(self._refused)
        for name in refused:
            self._replace(name)
        wanted = self._missing
        while (count := min(self._missing, wanted, _AT_ONCE)) > 0:
            wanted -= count
            made = await asyncio.gather(
                *(self._make() for _ in range(count)), return_exceptions=True
            )
            for error in made:
                if isinstance(error, BaseException):
                    raise error
        return not refused

    async def _make(self) -> None:
        core = self._core
        name = new_server_name(core.spec.name)
        numbers = core.ports.take(name)
        try:
            await core.create(name, numbers, None)
        except ApiError as error:
            if core.spec.exposure.refused(error):
                core.ports.refuse(name, numbers)
            elif core.store.get(name) is None:
                core.ports.give_back(name, numbers)
            core.abandon(name, Claim())
            raise
        except BaseException:
            core.abandon(name, Claim())  # it may be carried out late, unexposed
            raise

    def _replace(self, name: str) -> None:
        """Remove a server whose numbers others have."""
        pod = self._core.store.get(name)
        self._refused.discard(name)
        if pod is not None:
            self._core.ports.refuse(name, self._core.spec.exposure.held_ports(pod))
            self._core.abandon(name, Claim())
