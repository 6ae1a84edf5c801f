"""Callbacks: a function that is called with each event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from podfleet.log import about
from podfleet.model.event import FleetEvent

__all__ = ["call", "call_with_each"]

_log = logging.getLogger(__name__)

_tasks: set[asyncio.Task[None]] = set()
"""Those under way: an event loop keeps no task alive that only waits."""


def call(callback: Callable[[FleetEvent], object], event: FleetEvent) -> None:
    """Call a function with an event; what it raises is logged."""
    try:
        callback(event)
    except Exception:  # a subscriber's own: the others, and the next event, are to come
        server = None if event.server is None else event.server.name
        fields = about(server=server, session=event.session)
        _log.exception("a callback failed at the event: %s", event, extra=fields)


def call_with_each(
    events: AsyncIterator[FleetEvent], callback: Callable[[FleetEvent], object]
) -> Callable[[], None]:
    """Call a function with each event, in the background; return a function that ends it."""

    async def run() -> None:
        async for event in events:
            call(callback, event)

    def end() -> None:
        task.cancel()

    task = asyncio.create_task(run(), name="podfleet events")
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return end
