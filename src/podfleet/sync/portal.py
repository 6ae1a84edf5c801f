"""`Portal`: a private event loop in one background thread, for the sync faces."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from typing import Any, Generic, TypeVar

__all__ = ["portal"]

_T = TypeVar("_T")

_INTERRUPT_PATIENCE = 10.0  # seconds that Ctrl-C waits for the clean-up


class Portal:
    """Runs coroutines on its loop for any thread; the thread starts with the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine and return its result.

        Interrupted (Ctrl-C), it cancels the work and waits for its clean-up, then raises.

        Raises:
            RuntimeError: Called on the loop's own thread, where it would wait for itself.
        """
        loop = self._running()
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a sync method was called on podfleet's own loop: use AsyncFleet")
        job = _Job(work)
        loop.call_soon_threadsafe(job.start)
        try:
            return job.outcome.result()
        except BaseException:
            if not job.outcome.done():
                loop.call_soon_threadsafe(job.cancel)
                wait_for_futures([job.outcome], timeout=_INTERRUPT_PATIENCE)
            raise

    def after_fork(self) -> None:
        """Start anew in a child: threads do not survive ``fork``, and the lock may be held."""
        self._lock = threading.Lock()
        self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="podfleet", daemon=True
                )
                self._thread.start()
            return self._loop


class _Job(Generic[_T]):
    """A coroutine on its way through the loop.

    Not `asyncio.run_coroutine_threadsafe`: cancelled, its future is done at once, before the
    coroutine has cleaned up.
    """

    def __init__(self, work: Coroutine[Any, Any, _T]) -> None:
        self.outcome: Future[_T] = Future()
        self._work = work
        self._task: asyncio.Task[_T] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work)
        self._task.add_done_callback(self._hand_over)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _hand_over(self, task: asyncio.Task[_T]) -> None:
        if task.cancelled():
            self.outcome.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())


portal = Portal()
"""One for the process: its fleets share the thread."""

os.register_at_fork(after_in_child=portal.after_fork)
