"""A process of a soak ends when the soak ends, however that comes about."""

import os
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import wait

__all__ = ["end_with_parent"]


def end_with_parent(clean_up: Callable[[], object] = lambda: None) -> None:
    """Have this process end when the one that started it is no more.

    Args:
        clean_up: Called before, in a thread of its own.
    """
    parent = parent_process()
    assert parent is not None, "called in a process that another started"

    def end() -> None:
        wait([parent.sentinel])
        try:
            clean_up()
        finally:
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()
