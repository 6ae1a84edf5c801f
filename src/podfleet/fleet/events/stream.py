"""`EventStream`: the events of a fleet, for one subscriber; `Events`: all of its subscribers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Self
from weakref import WeakSet

from podfleet.fleet.events.derive import Derivation
from podfleet.fleet.events.witness import Witness, told
from podfleet.fleet.sighting import Sighting
from podfleet.kube import Change, Store
from podfleet.log import about
from podfleet.model import Diagnosis
from podfleet.model.event import EventKind, FleetEvent

__all__ = ["EventStream", "Events"]

_log = logging.getLogger(__name__)

_Reading = asyncio.Task[Diagnosis]

_BREATH = 50  # servers shown before others of the event loop have a turn


class EventStream(AsyncIterator[FleetEvent]):
    """The events of a fleet from the present state on.

    What `AsyncFleet.events` returns. It begins with its first event. Not a generator: one that is
    cancelled while it waits, as by ``asyncio.wait_for``, is over; this goes on where it was.

    Args:
        begin: Connects, and returns where the stream is to be told of changes.
    """

    def __init__(self, begin: Callable[[], Awaitable[Events]]) -> None:
        self._begin = begin
        self._events: Events | None = None
        self._queue: asyncio.Queue[FleetEvent | None] = asyncio.Queue()
        self._unshown: deque[str] = deque()
        self._derivation = Derivation()
        self._over = False
        # By server: what waits until it is read how it ended, and what came after that.
        self._held: dict[str, deque[tuple[FleetEvent, _Reading | None]]] = {}

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> FleetEvent:
        """Return the next event, as soon as there is one."""
        if self._events is None and not self._over:
            events = await self._begin()
            if self._events is None and not self._over:
                self._events = events
                self._unshown.extend(events.join(self))
        while self._unshown and self._queue.empty():
            self._show()
            await asyncio.sleep(0)
        event = await self._queue.get()
        if event is None:
            self._queue.put_nowait(None)  # over for whoever asks again
            raise StopAsyncIteration
        return event

    def hear(self, change: Change, seen: Sighting) -> None:
        """Take in what happened to a server."""
        self._put(seen, change)

    def tell(self, event: FleetEvent) -> None:
        """Take in what happened to the fleet as a whole."""
        self._queue.put_nowait(event)

    def end(self) -> None:
        """Have the iteration end, after what has happened until now."""
        if self._over:
            return
        self._over = True
        self._unshown.clear()
        if self._events is not None:
            self._events.leave(self)
        for name in list(self._held):
            self._release(name, all_of_it=True)
        self._queue.put_nowait(None)  # wakes who waits

    async def aclose(self) -> None:
        """End it, from another task or thread."""
        self.end()

    def _show(self) -> None:
        """Tell the present state of some servers. Those that have changed since were told then."""
        assert self._events is not None, "there is nothing to show before it has begun"
        for _ in range(min(_BREATH, len(self._unshown))):
            name = self._unshown.popleft()
            pod = self._events.store.get(name)
            self._put(Sighting(name, pod))

    def _put(self, seen: Sighting, change: Change | None = None) -> None:
        derivation = self._derivation
        try:
            events = derivation.show(seen) if change is None else derivation.follow(change, seen)
        except Exception:  # what somebody wrote on a Pod must not stop the watch, nor a claim
            _log.exception(
                "%s: no event of what makes no sense on its Pod",
                seen.name,
                extra=about(server=seen.name),
            )
            return
        for event in events:
            self._keep_order(seen, event)

    def _keep_order(self, seen: Sighting, event: FleetEvent) -> None:
        """Tell an event at once, unless it waits for evidence, or for one before it that does."""
        reading = None if self._events is None else self._events.reading(event, seen)
        if reading is None and seen.name not in self._held:
            self._queue.put_nowait(event)
            return
        self._held.setdefault(seen.name, deque()).append((event, reading))
        if reading is not None:
            reading.add_done_callback(lambda _: self._release(seen.name))

    def _release(self, name: str, *, all_of_it: bool = False) -> None:
        """Tell what has waited long enough."""
        held = self._held.get(name)
        while held and (all_of_it or held[0][1] is None or held[0][1].done()):
            event, reading = held.popleft()
            self._queue.put_nowait(event if reading is None else told(event, reading))
        if held is not None and not held:
            del self._held[name]


class Events:
    """Tells subscribers what happens to servers. While there is none it costs nothing.

    Args:
        store: The fleet's Pods.
        witness: Reads how servers ended.
    """

    def __init__(self, store: Store, witness: Witness | None = None) -> None:
        self.store = store
        self._witness = witness
        # Weakly: who leaves the loop over a stream drops it, and is not told any more.
        self._streams: WeakSet[EventStream] = WeakSet()
        self._is_listening = False

    def join(self, stream: EventStream) -> tuple[str, ...]:
        """Tell a stream of all changes from now on; return the names of the servers there are."""
        if not self._is_listening:
            self._is_listening = True
            self.store.listen(self._hear)
        self._streams.add(stream)
        return self.store.names

    def leave(self, stream: EventStream) -> None:
        """Tell a stream no more."""
        self._streams.discard(stream)

    def tell(self, kind: EventKind, reason: str) -> None:
        """Tell what happened to the fleet as a whole."""
        for stream in list(self._streams):
            stream.tell(FleetEvent(kind=kind, at=datetime.now(UTC), reason=reason))

    def reading(self, event: FleetEvent, seen: Sighting) -> _Reading | None:
        """Return what reads the evidence for an event; ``None`` if there is none to read."""
        return None if self._witness is None else self._witness.hear(event, seen.pod)

    def stop(self) -> None:
        """End all streams."""
        for stream in list(self._streams):
            stream.end()
        if self._witness is not None:
            self._witness.stop()

    def _hear(self, change: Change) -> None:
        if not self._streams or change.missed:  # how it went, the watch will show
            return
        seen = Sighting(change.name, change.after)
        for stream in list(self._streams):
            stream.hear(change, seen)
