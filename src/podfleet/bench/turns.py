"""Many awaitables, so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

__all__ = ["in_turns"]

_T = TypeVar("_T")


async def in_turns(at_once: int, work: Iterable[Awaitable[_T]]) -> list[_T]:
    """Await all, so many at once; return the results in the order of their ends.

    When one fails the others in flight are cancelled.

    Args:
        at_once: How many.
        work: What to await; a generator is asked for each when its turn comes.
    """
    waiting = iter(work)
    results: list[_T] = []

    async def next_ones() -> None:
        for one in waiting:
            results.append(await one)  # noqa: PERF401  (what is done counts, if another fails)

    tasks = [asyncio.create_task(next_ones()) for _ in range(at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return results
