"""What happens on a simulated day: who plays when, and what goes wrong. Pure: a seed says it."""

import math
import random
from datetime import UTC, datetime, timedelta
from enum import Enum

from attrs import frozen

__all__ = ["CHILDREN", "RESIDENTS", "Day", "Match", "Mischief", "Trouble", "matches", "troubles"]

RESIDENTS = 3
"""Replicas in the soak's own process, which live through all of it: they are measured."""
CHILDREN = 2
"""Replicas that are processes of their own, and are killed."""

_HOURS = 24.0
_MORNING = 6.0  # o'clock
_NIGHT = 3.0  # o'clock
_MIDNIGHT = datetime(2026, 11, 26, 23, 0, tzinfo=UTC)  # in Berlin
_MOST = 20.0  # matches a second, in the evening
_LEAST = 0.8  # at eight in the morning
_PEAK = 20.0  # o'clock
_LENGTH = (0.3, 3.0)  # seconds of a match, evenly


class Mischief(Enum):
    """What goes wrong."""

    CUT = "watches cut"
    COMPACT = "history compacted"
    REFUSE = "429 and 500"
    DROP = "requests dropped"
    LOSE = "replies lost"
    TWICE = "requests sent twice"
    DARK = "black-out"
    RESTART = "API server restarted"
    MUTE = "half-open"
    CRASH = "server crashed"
    NODE = "node lost"
    KILL = "replica killed"
    ROLL = "roll-out"


_WEIGHTS = {
    Mischief.CUT: 4,
    Mischief.COMPACT: 2,
    Mischief.REFUSE: 5,
    Mischief.DROP: 4,
    Mischief.LOSE: 5,
    Mischief.TWICE: 2,
    Mischief.DARK: 1,
    Mischief.RESTART: 1,
    Mischief.MUTE: 1,
    Mischief.CRASH: 8,
}
_EACH_DAY = (Mischief.NODE, Mischief.KILL, Mischief.KILL)
_ROLLS = (2, 5, 8)
"""Days with a roll-out: one comes after the days that warm up. From the last one on, a replica
lives on, and what it leaks adds up."""
_OTHERS = 10  # a day


@frozen
class Day:
    """A day that is shorter than it is: from six in the morning to midnight.

    Args:
        seconds: What it takes.
    """

    seconds: float

    def hour(self, at: float) -> float:
        """Return the hour at so many seconds of the day."""
        return _MORNING + at / self.seconds * (_HOURS - _MORNING)

    def date(self, at: float | None) -> datetime:
        """Return the simulated time; without seconds it is night."""
        return _MIDNIGHT + timedelta(hours=_NIGHT if at is None else self.hour(at))

    def rate(self, at: float) -> float:
        """Return how many matches a second begin: a trough, and a peak in the evening."""
        wave = (1 + math.cos((self.hour(at) - _PEAK) / _HOURS * 2 * math.pi)) / 2
        return _LEAST + (_MOST - _LEAST) * wave**2


@frozen
class Match:
    """A match that somebody asks a server for.

    Args:
        session: The session's name.
        at: Seconds of the day.
        length: How long it lasts, in seconds.
        replica: Which replica is asked: residents first.
    """

    session: str
    at: float
    length: float
    replica: int


@frozen
class Trouble:
    """Something that goes wrong.

    Args:
        at: Seconds of the day.
        kind: What.
        chance: Says which server, node or replica; from 0 to 1.
    """

    at: float
    kind: Mischief
    chance: float


def matches(day: Day, seed: str) -> list[Match]:
    """Return the matches of a day, as they come."""
    chance = random.Random(f"matches {seed}")
    at, found = 0.0, list[Match]()
    while (at := at + chance.expovariate(_MOST)) < day.seconds:
        length, replica = chance.uniform(*_LENGTH), chance.randrange(RESIDENTS + CHILDREN)
        if chance.random() * _MOST < day.rate(at):
            found.append(Match(f"match {seed} {len(found)}", at, length, replica))
    return found


def troubles(day: Day, number: int, seed: str) -> list[Trouble]:
    """Return what goes wrong on a day, in the order of time.

    Args:
        day: The day.
        number: The day's, from 1.
        seed: Says the rest.
    """
    chance = random.Random(f"troubles {seed}")
    rolls = (Mischief.ROLL,) if number in _ROLLS else ()
    others = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=_OTHERS)
    found = [
        Trouble(chance.uniform(0.05, 0.9) * day.seconds, kind, chance.random())
        for kind in (*_EACH_DAY, *rolls, *others)
    ]
    return sorted(found, key=lambda one: one.at)
