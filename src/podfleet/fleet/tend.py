"""`tend`: fleets in a process that does nothing else, until it is told to end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from podfleet.fleet.running import Running

__all__ = ["Tended", "tend", "until_told"]


class Tended(Protocol):
    """A fleet, as far as it is tended here: an `AsyncFleet`."""

    def here(self) -> Running:
        """Return what runs in this event loop."""

    async def stop(self) -> None:
        """Stop it."""


async def tend(fleets: Sequence[Tended]) -> None:
    """Start fleets; return when a signal came, or all were stopped, or one failed to start.

    However it ends, the fleets are stopped by then, so that other replicas can tend them at once.

    Args:
        fleets: The fleets.

    Raises:
        PodfleetError: Why one cannot be started.
    """
    await until_told(_until_stopped(fleets))


async def until_told(work: Coroutine[Any, Any, None]) -> None:
    """Do a work until it is done, or SIGTERM or SIGINT (Ctrl-C) cancels it, and it is cleaned up.

    Args:
        work: The work.

    Raises:
        PodfleetError: What it raises.
    """
    task = asyncio.create_task(work)
    with _signals.cancelling(task):
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def _until_stopped(fleets: Sequence[Tended]) -> None:
    try:
        runnings = [fleet.here() for fleet in fleets]
        for running in runnings:
            await running.start()
        for running in runnings:
            await running.stopped.wait()
    finally:
        await asyncio.gather(*(fleet.stop() for fleet in fleets))


class _Signals:
    """Cancels tasks when the process is told to end: once, then the signals mean what they did.

    If something else handles SIGTERM, as web servers do, both signals stay its own.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def cancelling(self, task: asyncio.Task[Any]) -> Iterator[None]:
        """Have a signal cancel the task, where signals can be had."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        if not self._tasks and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._take()
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
            if not self._tasks:
                self._give_back()

    def _take(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if before not in (None, signal.SIG_IGN):  # as SIGINT is in a shell's background
                self._before[number] = before
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._tell))

    def _tell(self) -> None:
        self._give_back()
        for task in self._tasks:
            task.cancel()

    def _give_back(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()


_signals = _Signals()
