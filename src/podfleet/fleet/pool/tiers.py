"""`Tiers`: free servers of one selector, those on cordoned nodes apart. Pure."""

from __future__ import annotations

import random
from typing import Self

from attrs import frozen

from podfleet.fleet.pool.choice import Choice
from podfleet.fleet.pool.packing import Packing, Pool
from podfleet.fleet.pool.ranking import Ranking, Value
from podfleet.fleet.pool.sharing import SlotPool
from podfleet.model import Manifest
from podfleet.model.slots import free_slots, has_slots

__all__ = ["Pools", "Tiers", "node_of"]


@frozen
class Pools:
    """Servers of one selector: those that are whole, and those that sessions share."""

    whole: Pool | Ranking
    shared: SlotPool

    @classmethod
    def of(cls, packing: Packing | Value, choice: Choice, chance: random.Random) -> Self:
        """Return empty ones."""
        whole = Ranking(packing, choice) if callable(packing) else Pool(packing, choice, chance)
        return cls(whole, SlotPool(chance))

    def put(self, name: str, pod: Manifest) -> None:
        """Add a free server, or take note that it has changed."""
        if isinstance(self.whole, Ranking):
            self.whole.put(pod)
        elif has_slots(pod):
            self.shared.put(name, free_slots(pod))
        else:
            self.whole.put(name, node_of(pod))

    def remove(self, name: str) -> bool:
        """Remove a server that is not free any more; return whether it was there."""
        return self.whole.remove(name) | self.shared.remove(name)  # both are done


@frozen
class Tiers:
    """Servers of one selector, those on cordoned nodes apart: they are taken last."""

    open: Pools
    cordoned: Pools

    @classmethod
    def of(cls, packing: Packing | Value, choice: Choice, chance: random.Random) -> Self:
        """Return empty ones: see `Pool`, or `Ranking`."""
        return cls(Pools.of(packing, choice, chance), Pools.of(packing, choice, chance))

    def put(self, name: str, pod: Manifest, *, is_cordoned: bool) -> None:
        """Add a free server where it belongs, or take note that it has changed."""
        here, there = (self.cordoned, self.open) if is_cordoned else (self.open, self.cordoned)
        there.remove(name)
        here.put(name, pod)

    def remove(self, name: str) -> bool:
        """Remove a server that is not free any more; return whether it was there."""
        return self.open.remove(name) or self.cordoned.remove(name)  # it is in one at most

    def allocate(self, node: str, change: int) -> None:
        """Take note that so many more servers of a node are allocated, or fewer."""
        self.open.whole.allocate(node, change)
        self.cordoned.whole.allocate(node, change)


def node_of(pod: Manifest) -> str:
    """Return the name of a Pod's node; ``""`` if it has none."""
    return str(pod["spec"].get("nodeName") or "")
