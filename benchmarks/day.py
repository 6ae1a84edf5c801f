"""A day of a game, and a fleet that lives through it: simulated, no cluster and no clock."""

import heapq
import itertools
import math
import random
from bisect import bisect
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from attrs import define, field, frozen

from podfleet import Load, ScalingPolicy
from podfleet.scaling import wanted

ZONE: Final = "Europe/Berlin"
_MIDNIGHT = datetime(2026, 11, 26, 23, 0, tzinfo=UTC)  # a Friday's, there
HOUR: Final = 3600.0  # seconds
_DAY = 24 * HOUR
_BEGIN = -HOUR  # what happens before midnight is not counted

# Hour of the day to matches at once; straight lines between.
_CURVE = ((-1, 950), (0, 750), (2, 300), (5, 100), (8, 180), (12, 450), (15, 600), (17, 850),
          (20.5, 1500), (22, 1250), (23, 950), (24, 750))  # fmt: skip
_RUSH = (16.0, 16.1, 1.5)  # from hour to hour, so many more a second: a streamer invites
_MATCH = (600.0, 1800.0)  # seconds, evenly
_START = (20.0, 40.0)  # seconds from a server's creation until it is ready, evenly

_ASKED = 2.0  # seconds from one question to a policy to the next
_KEPT = 60.0  # seconds for which a server has to be one too many before it is deleted
_OF_LATE = 120.0  # seconds over which the rate is measured
_STARTS = 50  # starts whose mean is the time that a start takes
_SAMPLE = 600.0  # seconds between two points of the picture


@frozen
class Match:
    """A match that somebody asks a server for.

    Args:
        at: When, in seconds since midnight.
        length: How long it lasts, in seconds.
    """

    at: float
    length: float


def day(seed: int = 7) -> list[Match]:
    """Return the matches of a day: a night's trough, an evening's peak, and a rush."""
    chance = random.Random(seed)
    mean = sum(_MATCH) / 2
    most = max(matches for _, matches in _CURVE) / mean + _RUSH[2]
    asked, at = [], _BEGIN
    while (at := at - math.log(1 - chance.random()) / most) < _DAY:
        if chance.random() * most < _rate(at / HOUR, mean):
            asked.append(Match(at, chance.uniform(*_MATCH)))
    return asked


def _rate(hour: float, mean: float) -> float:
    """Return how many matches a second are asked for."""
    after = bisect(_CURVE, (hour, math.inf))
    (before, low), (behind, high) = _CURVE[after - 1], _CURVE[after]
    matches = low + (high - low) * (hour - before) / (behind - before)
    return matches / mean + (_RUSH[2] if _RUSH[0] <= hour < _RUSH[1] else 0.0)


@frozen
class Sample:
    """Some minutes of a day.

    Args:
        hour: The hour at which they end.
        allocated: How many servers are allocated then.
        ready: How many were free and ready, on average.
    """

    hour: float
    allocated: int
    ready: float


@define
class Simulation:
    """A fleet under one policy: what its tender would do, and its callers.

    As in a real fleet a caller who finds nothing waits in line, for what starts anyway or else
    for a server that is started for it; who came first is served first.

    Args:
        policy: The policy.
        seed: Of the time that starts take.
    """

    policy: ScalingPolicy
    seed: int = 7
    now: float = _BEGIN
    allocated: int = 0
    ready: int = 0
    starting: int = 0
    own: int = 0
    """Servers that start for callers in line."""
    unused: int = 0
    idle: float = 0.0
    waits: list[float] = field(factory=list)
    misses: int = 0
    samples: list[Sample] = field(factory=list)
    _seen: float = 0.0
    _line: deque[Match] = field(factory=deque)
    _recent: deque[float] = field(factory=deque)
    _said: deque[tuple[float, int]] = field(factory=deque)
    _starts: deque[float] = field(factory=lambda: deque(maxlen=_STARTS))
    _due: list[tuple[float, int, str, Any]] = field(factory=list)
    _order: Iterator[int] = field(factory=itertools.count)
    _chance: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def run(self, matches: list[Match]) -> None:
        """Live through the day."""
        coming = iter(matches)
        self._later(_BEGIN, "ask", None)
        self._later(_SAMPLE, "look", None)
        self._next(coming)
        while self._due:
            at, _, what, about = heapq.heappop(self._due)
            if at > _DAY:
                break
            self.idle += self.ready * (max(at, 0.0) - max(self.now, 0.0))
            self.now = at
            if what == "come":
                self._next(coming)
                self._come(about)
            elif what == "started":
                self._started(about)
            elif what == "end":
                self.allocated -= 1
            elif what == "ask":
                self._later(at + _ASKED, "ask", None)
                self._ask()
            else:
                self._later(at + _SAMPLE, "look", None)
                self._look()

    def load(self) -> Load:
        """Return the load as it is measured."""
        while self._recent and self._recent[0] < self.now - _OF_LATE:
            self._recent.popleft()
        return Load(
            now=_MIDNIGHT + timedelta(seconds=self.now),
            allocated=self.allocated,
            ready=self.ready,
            starting=self.starting,
            rate=len(self._recent) / _OF_LATE,
            start_seconds=math.fsum(self._starts) / len(self._starts) if self._starts else 0.0,
            waiting=max(len(self._line) - self.own, 0),
        )

    def _later(self, at: float, what: str, about: Any) -> None:
        heapq.heappush(self._due, (at, next(self._order), what, about))

    def _next(self, coming: Iterator[Match]) -> None:
        match = next(coming, None)
        if match is not None:
            self._later(match.at, "come", match)

    def _ask(self) -> None:
        load = self.load()
        free = wanted(self.policy, load)
        for _ in range(free - load.free):
            self.starting += 1
            self._start(own=False)
        self._said.append((self.now, free))
        while self._said[0][0] < self.now - _KEPT:
            self._said.popleft()
        surplus = load.free - max(free for _, free in self._said)
        if surplus > 0:
            deleted = min(surplus, self.ready)  # what starts is let start
            self.ready -= deleted
            self.unused += deleted

    def _look(self) -> None:
        ready = (self.idle - self._seen) / _SAMPLE
        self._seen = self.idle
        self.samples.append(Sample(self.now / HOUR, self.allocated, ready))

    def _come(self, match: Match) -> None:
        self._recent.append(self.now)
        if self.ready:
            self.ready -= 1
            self._serve(match)
            return
        self._line.append(match)
        if self.now >= 0:
            self.misses += 1
        if len(self._line) > self.starting + self.own:
            self.own += 1
            self._start(own=True)

    def _start(self, *, own: bool) -> None:
        seconds = self._chance.uniform(*_START)
        self._later(self.now + seconds, "started", (own, seconds))

    def _started(self, about: tuple[bool, float]) -> None:
        own, seconds = about
        self._starts.append(seconds)
        self.own -= own
        self.starting -= not own
        if self._line:
            self._serve(self._line.popleft())
        elif own:  # its caller was served sooner by another
            self.unused += 1
        else:
            self.ready += 1

    def _serve(self, match: Match) -> None:
        self.allocated += 1
        self._later(self.now + match.length, "end", None)
        if match.at >= 0:
            self.waits.append(self.now - match.at)
