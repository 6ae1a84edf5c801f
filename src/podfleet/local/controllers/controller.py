"""`Controller`: looks at objects that changed, and does what they ask for."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable

from podfleet.local.objects.registry import Registry
from podfleet.local.objects.statuses import Refusal
from podfleet.local.objects.store import Change

__all__ = ["Controller"]

_log = logging.getLogger(__name__)

_SLICE = 0.005  # seconds of work after which others have their turn
_AGAIN = 1.0  # seconds until what failed is looked at again


class Controller(ABC):
    """Turns changes into keys, and looks at each key until nothing is left to do.

    Args:
        registry: The cluster's objects.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store
        self._clock = registry.clock
        self._marked: dict[Hashable, None] = {}
        self._wake = asyncio.Event()
        self._timers: dict[Hashable, asyncio.Task[None]] = {}
        self._unlisten: Callable[[], None] = self._store.listen(self._follow)

    @abstractmethod
    def keys(self, change: Change) -> Iterable[Hashable]:
        """Return what has to be looked at after a change."""

    @abstractmethod
    def reconcile(self, key: Hashable) -> float | None:
        """Look at one thing; return after how many seconds to look again, if at all."""

    def mark(self, key: Hashable) -> None:
        """Have something looked at soon."""
        self._marked[key] = None
        self._wake.set()

    async def run(self) -> None:
        """Look at what is marked, for good."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                loop = asyncio.get_running_loop()
                began = loop.time()
                while self._marked:
                    key = next(iter(self._marked))
                    del self._marked[key]
                    self._look(key)
                    if loop.time() - began > _SLICE:
                        await asyncio.sleep(0)  # the others come in between
                        began = loop.time()
        finally:
            self._unlisten()
            for timer in self._timers.values():
                timer.cancel()

    def _follow(self, change: Change) -> None:
        for key in self.keys(change):
            self.mark(key)

    def _look(self, key: Hashable) -> None:
        try:
            again = self.reconcile(key)
        except Refusal as refusal:
            _log.debug("%s: %s: %s", type(self).__name__, key, refusal)
            again = _AGAIN
        except Exception:  # one object must not stop the cluster
            _log.exception("%s failed at %s", type(self).__name__, key)
            again = _AGAIN
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if again is not None:
            self._timers[key] = asyncio.get_running_loop().create_task(self._later(key, again))

    async def _later(self, key: Hashable, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timers.pop(key, None)
        self.mark(key)
