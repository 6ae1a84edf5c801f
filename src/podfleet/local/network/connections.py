"""`Connections`: TCP connections, each served by a task of its own, that are cut together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

__all__ = ["Connections", "Talk"]

Talk: TypeAlias = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter],
    Coroutine[Any, Any, None],
]
"""What is done with a client that connects."""


class Connections:
    """Those that are open."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def serving(self, talk: Talk) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        """Return what `asyncio.start_server` is to call; a connection is closed after its talk."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(talk(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # Not in the task: one that is cancelled before its first step runs no `finally`.
            task.add_done_callback(lambda _: writer.close())

        return connected

    def close(self) -> None:
        """Cut all."""
        for task in self._tasks:
            task.cancel()
