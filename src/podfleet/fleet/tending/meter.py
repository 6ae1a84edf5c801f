"""`Meter`: what a scaling policy is asked with, measured from what the watch shows."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from podfleet.fleet.claiming.claim import turn_of
from podfleet.fleet.pool.free import FreeServers
from podfleet.fleet.pool.line import Line
from podfleet.fleet.sighting import Sighting
from podfleet.model import Manifest, ServerState
from podfleet.model.manifest import parse_time
from podfleet.scaling import Load
from podfleet.waiters.diagnosis import ready_since

__all__ = ["Meter"]

_OF_LATE = 120.0  # seconds over which the rate is measured: after them it reaches 0
_AT_LEAST = 10.0  # seconds that a rate is of, soon after the start
_STARTS = 50  # starts whose mean is the time that a start takes

_TAKEN = (ServerState.ALLOCATED, ServerState.RESERVED)


class Meter:
    """Counts allocations, whichever replica made them, and times starts.

    Args:
        free: The fleet's free servers.
        line: The callers here that wait for one.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self, free: FreeServers, line: Line, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._free = free
        self._line = line
        self._clock = clock
        self._began = clock()
        self._taken: set[str] = set()
        self._known: set[str] = set()
        self._started: set[str] = set()
        self._recent: deque[float] = deque()
        self._starts: deque[float] = deque(maxlen=_STARTS)

    def follow(self, seen: Sighting) -> None:
        """Learn from a server that was seen; after `FreeServers.follow`."""
        name, pod = seen.name, seen.pod
        if pod is None:
            for names in (self._taken, self._known, self._started):
                names.discard(name)
            return
        is_taken = seen.state in _TAKEN
        if is_taken and name not in self._taken and name in self._known:
            self._recent.append(self._clock())
            self._forget()  # who keeps no servers ready never asks for the load
        (self._taken.add if is_taken else self._taken.discard)(name)
        self._known.add(name)
        if seen.ready and name not in self._started:
            self._started.add(name)
            if turn_of(pod) == 0 and (took := _took(pod)) is not None:
                self._starts.append(took)

    def load(self) -> Load:
        """Return the load now."""
        now = self._clock()
        self._forget()
        waiting = len(self._line)
        seconds = min(_OF_LATE, max(_AT_LEAST, now - self._began))
        return Load(
            now=datetime.now(UTC),
            allocated=len(self._taken),
            ready=self._free.ready,
            starting=self._free.offered - self._free.ready,
            rate=(len(self._recent) + waiting) / seconds,
            start_seconds=math.fsum(self._starts) / len(self._starts) if self._starts else 0.0,
            waiting=self._line.patient,
        )

    def _forget(self) -> None:
        """Forget allocations that are not of late any more."""
        since = self._clock() - _OF_LATE
        while self._recent and self._recent[0] < since:
            self._recent.popleft()


def _took(pod: Manifest) -> float | None:
    """Return the seconds from a Pod's creation until it was ready, by the cluster's clocks."""
    created, ready = parse_time(pod["metadata"].get("creationTimestamp")), ready_since(pod)
    return None if created is None or ready is None else max(0.0, (ready - created).total_seconds())
