"""`Tally`: what a fleet has done in this process, counted. `podfleet.metrics` shows it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from enum import Enum
from types import TracebackType
from typing import Self

from attrs import frozen

from podfleet.errors import (
    AllocationTimeout,
    Contended,
    Exhausted,
    FleetDraining,
    ServerFailed,
    ServerUnreachable,
)

__all__ = ["SECONDS", "Attempt", "Counts", "Purpose", "Removal", "Result", "Tally", "result_of"]

SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)
"""The buckets' upper bounds: a warm allocate takes milliseconds, a new node a minute or two."""


class Result(Enum):
    """How a call of ``allocate`` ended."""

    OK = "ok"
    TIMEOUT = "timeout"
    EXHAUSTED = "exhausted"
    CONTENDED = "contended"
    DRAINED = "drained"
    UNREACHABLE = "unreachable"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ERROR = "error"


class Purpose(Enum):
    """What a server was created for."""

    ALLOCATE = "allocate"
    READY = "ready"


class Removal(Enum):
    """Why the fleet removed a server."""

    ENDED = "ended"
    FAILED = "failed"
    SURPLUS = "surplus"
    OUTDATED = "outdated"
    ORPHAN = "orphan"
    DRAINED = "drained"
    CORDONED = "cordoned"
    OTHER = "other"


_RESULTS = (
    (AllocationTimeout, Result.TIMEOUT),
    (Exhausted, Result.EXHAUSTED),
    (Contended, Result.CONTENDED),
    (FleetDraining, Result.DRAINED),
    (ServerUnreachable, Result.UNREACHABLE),
    (ServerFailed, Result.FAILED),
    (Exception, Result.ERROR),
)


def result_of(error: type[BaseException] | None) -> Result:
    """Return how a call ended.

    Args:
        error: The class of what it raised, if it did.

    Example:
        >>> from podfleet.errors import PortPoolExhausted
        >>> result_of(PortPoolExhausted)
        <Result.EXHAUSTED: 'exhausted'>
    """
    if error is None:
        return Result.OK
    for family, result in _RESULTS:
        if issubclass(error, family):
            return result
    return Result.CANCELLED  # also by Ctrl-C


@frozen
class Counts:
    """What was counted until one moment.

    Args:
        allocations: Calls of ``allocate``, by their results.
        buckets: Calls that returned a server, by whether it was warm: how many took longer than
            one bound of `SECONDS` and no longer than the next; the last ones longer than all.
        seconds: How long these took together.
        lost_races: Servers that another caller claimed first.
        created: Servers created.
        removed: Servers removed.
    """

    allocations: dict[Result, int]
    buckets: dict[bool, tuple[int, ...]]
    seconds: dict[bool, float]
    lost_races: int
    created: dict[Purpose, int]
    removed: dict[Removal, int]

    def __bool__(self) -> bool:
        return bool(self.allocations or self.lost_races or self.created or self.removed)


class Tally:
    """Counts what a fleet does; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._allocations: Counter[Result] = Counter()
        self._buckets = {warm: [0] * (len(SECONDS) + 1) for warm in (True, False)}
        self._seconds = dict.fromkeys((True, False), 0.0)
        self._lost_races = 0
        self._created: Counter[Purpose] = Counter()
        self._removed: Counter[Removal] = Counter()

    def allocated(self, seconds: float, *, warm: bool) -> None:
        """Count a call of ``allocate`` that returned a server.

        Args:
            seconds: How long it took.
            warm: Whether no server was started for it.
        """
        with self._lock:
            self._allocations[Result.OK] += 1
            self._buckets[warm][bisect_left(SECONDS, seconds)] += 1
            self._seconds[warm] += seconds

    def not_allocated(self, result: Result) -> None:
        """Count a call of ``allocate`` that returned none."""
        with self._lock:
            self._allocations[result] += 1

    def lost_race(self) -> None:
        """Count a server that another caller claimed first."""
        with self._lock:
            self._lost_races += 1

    def created(self, purpose: Purpose) -> None:
        """Count a server that was created."""
        with self._lock:
            self._created[purpose] += 1

    def removed(self, removal: Removal) -> None:
        """Count a server that the fleet removed."""
        with self._lock:
            self._removed[removal] += 1

    @property
    def calls(self) -> int:
        """How many calls of ``allocate`` have ended."""
        with self._lock:
            return sum(self._allocations.values())

    def read(self) -> Counts:
        """Return what was counted until now."""
        with self._lock:
            return Counts(
                allocations=dict(self._allocations),
                buckets={warm: tuple(counts) for warm, counts in self._buckets.items()},
                seconds=dict(self._seconds),
                lost_races=self._lost_races,
                created=dict(self._created),
                removed=dict(self._removed),
            )


class Attempt:
    """One call of ``allocate``, counted when its ``with`` block ends.

    Args:
        tally: The fleet's.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        """Of the fleet that it counts for."""
        self.warm = True
        """Whether no server was started for it."""
        self._began = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        result = result_of(kind)
        if result is Result.OK:
            self.tally.allocated(time.perf_counter() - self._began, warm=self.warm)
        else:
            self.tally.not_allocated(result)
