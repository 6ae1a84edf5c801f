"""The events of a fleet for code that does not await. No logic."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Self

from podfleet.fleet.events.callbacks import call
from podfleet.fleet.events.stream import EventStream
from podfleet.model.event import FleetEvent
from podfleet.sync.portal import portal

__all__ = ["EventIterator", "call_with_each"]


class EventIterator(Iterator[FleetEvent]):
    """The events of a stream.

    Args:
        stream: Runs in the portal's loop.
    """

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> FleetEvent:
        """Return the next event, as soon as there is one."""
        event = portal.run(_next(self._stream))
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """End it, from another thread."""
        portal.run(self._stream.aclose())


def call_with_each(
    events: EventIterator, callback: Callable[[FleetEvent], object]
) -> Callable[[], None]:
    """Call a function with each event, in a thread of its own; return a function that ends it."""
    ended = threading.Event()

    def run() -> None:
        for event in events:
            if ended.is_set():
                return
            call(callback, event)

    def end() -> None:
        ended.set()
        events.close()

    threading.Thread(target=run, name="podfleet events", daemon=True).start()
    return end


async def _next(stream: EventStream) -> FleetEvent | None:
    return await anext(stream, None)
