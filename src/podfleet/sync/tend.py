"""What a sync ``run()`` does: it blocks until the process is told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from podfleet.sync.portal import portal

__all__ = ["run_until_told"]


def run_until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run the coroutine until it ends; or until SIGTERM or Ctrl-C cancels it, and it is cleaned up.

    Raises:
        PodfleetError: What it raised.
    """
    with suppress(KeyboardInterrupt), _sigterm_as_interrupt():
        portal.run(work)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Have SIGTERM raise what Ctrl-C does; not where something else handles it."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
