"""`SlotPool`: servers with free slots, the fullest that fits first. Pure."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterator

from podfleet.fleet.pool.bag import Bag

__all__ = ["SlotPool"]


class SlotPool:
    """Names of servers by how many slots each has free.

    Args:
        chance: Which of equally full ones is taken.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._by_free: dict[int, Bag] = {}
        self._counts: list[int] = []
        self._free_of: dict[str, int] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._free_of))

    def put(self, server: str, free: int) -> None:
        """Add a server, or take note of how many slots it has free now."""
        if self._free_of.get(server) == free:
            return
        self.remove(server)
        if free not in self._by_free:
            self._by_free[free] = Bag()
            insort(self._counts, free)
        self._by_free[free].add(server)
        self._free_of[server] = free

    def remove(self, server: str) -> bool:
        """Remove a server; return whether it was there."""
        free = self._free_of.pop(server, None)
        if free is None:
            return False
        self._by_free[free].remove(server)
        if not self._by_free[free]:
            del self._by_free[free]
            del self._counts[bisect_left(self._counts, free)]
        return True

    def best(self, slots: int) -> str | None:
        """Return the fullest server that has so many slots free; ``None`` if none has."""
        at = bisect_left(self._counts, slots)
        if at == len(self._counts):
            return None
        bag = self._by_free[self._counts[at]]
        return bag[self._chance.randrange(len(bag))]
