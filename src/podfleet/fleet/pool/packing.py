"""`Pool`: free servers, and which of them to take next. Pure.

Which is first is a matter of packing; which of the best it is, `Choice` says.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Literal, TypeAlias

from podfleet.fleet.pool.bag import Bag
from podfleet.fleet.pool.choice import Choice
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of

__all__ = ["Packing", "Pool", "Selector", "matches"]

Packing = Literal["packed", "spread"]

Selector: TypeAlias = frozenset[tuple[str, str]]
"""Labels that a server must have, all of them; empty for any."""


def matches(pod: Manifest, selector: Selector) -> bool:
    """Return whether a Pod has these labels."""
    return labels_of(pod).items() >= selector


class Pool:
    """Names of free servers by node.

    Args:
        packing: ``"packed"``: the node with the most allocated servers first, so that others
            become empty; ``"spread"``: the one with the fewest.
        choice: Which of the best it is.
        chance: Where randomness comes from.
    """

    def __init__(self, packing: Packing, choice: Choice, chance: random.Random) -> None:
        self._packing = packing
        self._chance = chance
        self._free: dict[str, Bag] = {}
        self._node_of: dict[str, str] = {}
        self._allocated: dict[str, int] = {}
        self._order: list[tuple[int, int, str]] = []
        self._choice = choice

    def __len__(self) -> int:
        return len(self._node_of)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._node_of))

    def put(self, server: str, node: str) -> None:
        """Add a free server, unless it is there."""
        if server not in self._node_of:
            self._take_out(node)
            self._free.setdefault(node, Bag()).add(server)
            self._node_of[server] = node
            self._put_in(node)

    def remove(self, server: str) -> bool:
        """Remove a server that is not free any more; return whether it was there."""
        node = self._node_of.pop(server, None)
        if node is None:
            return False
        self._take_out(node)
        self._free[node].remove(server)
        self._put_in(node)
        return True

    def allocate(self, node: str, change: int) -> None:
        """Take note that so many more servers of a node are allocated, or fewer."""
        self._take_out(node)
        count = self._allocated.get(node, 0) + change
        if count:
            self._allocated[node] = count
        else:
            self._allocated.pop(node, None)
        self._put_in(node)

    def best(self) -> str | None:
        """Return one of the best servers, which stays there; ``None`` if there is none."""
        return self._choice.among(self._in_order())

    def _in_order(self) -> Iterator[str]:
        """Yield the servers in the order in which they are to be taken."""
        for _, _, node in reversed(self._order) if self._packing == "packed" else self._order:
            bag = self._free[node]
            first = self._chance.randrange(len(bag))
            yield from (bag[(first + index) % len(bag)] for index in range(len(bag)))

    def _take_out(self, node: str) -> None:
        """Take a node out of the order, before what its place follows from changes."""
        key = self._key(node)
        if key is not None:
            del self._order[bisect_left(self._order, key)]

    def _put_in(self, node: str) -> None:
        """Put a node into the order, if it has a free server."""
        key = self._key(node)
        if key is not None:
            insort(self._order, key)
        else:
            self._free.pop(node, None)

    def _key(self, node: str) -> tuple[int, int, str] | None:
        bag = self._free.get(node)
        return (self._allocated.get(node, 0), len(bag), node) if bag else None
