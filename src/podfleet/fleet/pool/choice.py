"""`Choice`: which of the best servers this replica tries for. Pure.

Replicas choose at the same moment, from the same list, and each learns what the others took only
when the watch shows it. So that they do not fight over one, each replica that claims has a share
of the servers, by a hash of their names, and takes the best of its share; of all others only when
its share has none. Nobody agrees on anything: who claims is seen in the claims themselves. Where
replicas know different ones, chance decides among ever more servers, until races are won.
"""

from __future__ import annotations

import math
import random
import time
import zlib
from collections.abc import Callable, Iterable

__all__ = ["Choice"]

_WIDEST = 256
_SHRINK = 0.99
"""By every race that was won: then one in seventy is lost, however many replicas there are."""
_ACTIVE = 60.0
"""Seconds for which a replica has a share after its last claim."""
_LOOKED_AT = 48
"""Servers, times the replicas, among which one of this replica's share is looked for."""


class Choice:
    """Chooses among servers that are in the order in which they are to be taken.

    Args:
        replica: This replica's own id.
        chance: Where randomness comes from.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self, replica: str, chance: random.Random, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._replica = replica
        self._chance = chance
        self._clock = clock
        self._width = 1.0
        self._met: dict[str, float] = {}

    def lost(self) -> None:
        """Take note that another replica was faster."""
        self._width = min(_WIDEST, self._width * 2)

    def won(self) -> None:
        """Take note that a claim went through."""
        self._width = max(1.0, self._width * _SHRINK)

    def met(self, replica: str) -> None:
        """Take note that a replica has claimed a server."""
        if replica != self._replica:
            self._met[replica] = self._clock()

    def among(self, order: Iterable[str]) -> str | None:
        """Return one of the best servers of this replica's share; ``None`` if there is none."""
        share, shares = self._share()
        width = math.ceil(self._width)
        wanted = self._chance.randrange(width) if width > 1 else 0
        most = max(width, _LOOKED_AT * shares)
        own, others = list[str](), list[str]()
        for name in order:
            is_own = shares == 1 or zlib.crc32(name.encode()) % shares == share
            (own if is_own else others).append(name)
            if len(own) > wanted:
                return name
            if len(own) + len(others) >= most:
                break
        found = own or others
        return self._chance.choice(found) if found else None

    def _share(self) -> tuple[int, int]:
        """Return which share this replica has, and of how many."""
        if not self._met:
            return 0, 1
        latest = self._clock() - _ACTIVE
        self._met = {one: at for one, at in self._met.items() if at >= latest}
        replicas = sorted([self._replica, *self._met])
        return replicas.index(self._replica), len(replicas)
