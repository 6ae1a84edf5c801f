"""`Clock`: the embedded cluster's time, which a test can move."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

__all__ = ["Clock", "parse"]


class Clock:
    """Seconds since the epoch, as the machine has them and as far on as it was moved.

    Everything that lasts in the cluster lasts on this clock: grace periods, back-offs, probes,
    deadlines, tolerations. What the servers themselves measure does not.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._moved: asyncio.Event = asyncio.Event()

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return time.time() + self._ahead

    def stamp(self, seconds: float | None = None) -> str:
        """Return a time as Kubernetes writes it, now by default: RFC 3339, in whole seconds."""
        moment = datetime.fromtimestamp(self.now() if seconds is None else seconds, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def precise(self) -> str:
        """Return the time as Leases and Events have it: with microseconds."""
        moment = datetime.fromtimestamp(self.now(), UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def advance(self, seconds: float) -> None:
        """Move on; whatever was waiting for a moment in between wakes up."""
        self._ahead += seconds
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
        until = self.now() + seconds
        while (left := until - self.now()) > 0:
            moved = self._moved
            try:
                async with asyncio.timeout(left):
                    await moved.wait()
            except TimeoutError:
                return

    @contextmanager
    def timeout(self, seconds: float) -> Iterator[None]:
        """Cancel the block after so many seconds of this clock.

        Raises:
            TimeoutError: It was not done by then.
        """
        task = asyncio.current_task()
        assert task is not None
        expired = False

        async def expire() -> None:
            nonlocal expired
            await self.sleep(seconds)
            expired = True
            task.cancel()

        timer = asyncio.get_running_loop().create_task(expire())
        try:
            yield
        except asyncio.CancelledError:
            if expired and task.uncancel() <= 0:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()


def parse(stamp: str) -> float:
    """Return the seconds since the epoch of a time that Kubernetes wrote.

    Example:
        >>> parse("1970-01-01T00:01:00Z")
        60.0
    """
    return datetime.fromisoformat(stamp).timestamp()
