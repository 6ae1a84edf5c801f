"""`FreeServers`: which servers anybody may claim now, as the watch shows them."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Sequence
from itertools import islice

from attrs import frozen

from podfleet.chance import CHANCE
from podfleet.fleet.claiming.claim import has_room, is_claimable, turn_of
from podfleet.fleet.claiming.replica import own_replica, replica_of
from podfleet.fleet.pool.choice import Choice
from podfleet.fleet.pool.packing import Packing, Selector, matches
from podfleet.fleet.pool.ranking import Value
from podfleet.fleet.pool.tiers import Pools, Tiers, node_of
from podfleet.fleet.sighting import Sighting
from podfleet.kube import Store
from podfleet.model import Diagnosis, Manifest, Verdict
from podfleet.model.manifest import annotations_of, name_of
from podfleet.model.names import CLAIM, PATIENCE, REVISION
from podfleet.model.server import ClaimState, claim_state, server_from_pod
from podfleet.model.slots import free_slots, has_slots
from podfleet.waiters.diagnosis import diagnose

__all__ = ["FreeServers", "Wish", "is_offered"]


@frozen
class Wish:
    """Which free server a caller would have.

    Args:
        selectors: Labels that it must have: the first of these that any server has.
        prefer: The lowest value goes first; by default the fleet's packing decides, or, of
            servers that sessions share, the fullest that fits.
        slots: How many slots it must have free.
    """

    selectors: Sequence[Selector] = (frozenset(),)
    prefer: Value | None = None
    slots: int = 1


_SELECTORS = 64  # that are kept in order at once


def is_offered(pod: Manifest) -> bool:
    """Return whether a server is anybody's who comes first.

    One that an ``allocate`` started for itself is not, until it has been somebody's.
    """
    return turn_of(pod) > 0 or PATIENCE not in annotations_of(pod)


class FreeServers:
    """Servers that are ready and unclaimed, in the order in which they are to be taken.

    Args:
        store: The fleet's Pods.
        revision: The present template's: a server of another is taken only by who asks for it.
        packing: See `Pool`, or `Ranking`.
        chance: Where randomness comes from.
    """

    def __init__(
        self,
        store: Store,
        revision: str,
        packing: Packing | Value,
        chance: random.Random | None = None,
    ) -> None:
        self._store = store
        self._present: Selector = frozenset({(REVISION, revision)})
        self._chance = chance or CHANCE
        self._packing = packing
        self.choice = Choice(own_replica(), self._chance)
        self._pools: OrderedDict[Selector, Tiers] = OrderedDict()
        self._cordoned: set[str] = set()  # nodes
        self._flaws: dict[str, Diagnosis] = {}  # of servers that can never be reached
        self._node_of: dict[str, str] = {}
        self._on: dict[str, set[str]] = {}  # servers by node
        self.held: dict[str, Manifest | None] = {}
        """Servers that callers of this process are about to claim, or are starting; each as it
        is while it is free."""
        self._offered: set[str] = set()
        self._ready: set[str] = set()
        self._coming: set[str] = set()
        self._unplaced: set[str] = set()
        self._outdated: set[str] = set()
        self._outdated_ready: set[str] = set()
        self._leaving: set[str] = set()
        self._leaving_ready: set[str] = set()
        self._unclaimed = (  # in the order of what `follow` says of a server
            *(self._offered, self._ready, self._coming, self._unplaced),
            *(self._outdated, self._outdated_ready, self._leaving, self._leaving_ready),
        )
        self._outdated_taken: set[str] = set()
        self._allocated: dict[str, str] = {}
        self._pool(self._present)

    @property
    def coming(self) -> int:
        """How many callers can be served by what is on its way.

        Servers that start, and are well; and slots of those that callers here have in hand.
        """
        held = [pod for pod in self.held.values() if pod is not None and has_slots(pod)]
        return len(self._coming) + sum(free_slots(pod) - 1 for pod in held)

    @property
    def offered(self) -> int:
        """How many of the present template are unclaimed and anybody's, ready or not.

        Those that leave their nodes do not count, here and in `ready`.
        """
        return len(self._offered) - len(self._leaving)

    @property
    def ready(self) -> int:
        """How many of these are ready."""
        return len(self._ready) - len(self._leaving_ready)

    @property
    def leaving(self) -> int:
        """How many of the present template are unclaimed and anybody's, but on cordoned nodes."""
        return len(self._leaving)

    @property
    def leaving_ready(self) -> int:
        """How many of these are ready."""
        return len(self._leaving_ready)

    @property
    def starting(self) -> int:
        """How many of these are on their way, and nothing is wrong with them."""
        return len(self._coming)

    @property
    def unplaced(self) -> int:
        """How many of these wait for a node."""
        return len(self._unplaced)

    @property
    def outdated(self) -> int:
        """How many are unclaimed and anybody's, but of another template."""
        return len(self._outdated)

    @property
    def outdated_ready(self) -> int:
        """How many of these are ready."""
        return len(self._outdated_ready)

    @property
    def outdated_taken(self) -> int:
        """How many of another template are allocated."""
        return len(self._outdated_taken)

    @property
    def expected(self) -> str | None:
        """One that is unclaimed and anybody's, if there is one."""
        return next(iter(self._offered), None)

    def offers(self, name: str) -> bool:
        """Return whether a server is of the present template, unclaimed, and anybody's."""
        return name in self._offered

    def leaves(self, name: str) -> bool:
        """Return whether it is one of those, and on a cordoned node."""
        return name in self._leaving

    def cordon(self, node: str, is_cordoned: bool) -> None:
        """Take note that a node is to get no more servers, or may again."""
        (self._cordoned.add if is_cordoned else self._cordoned.discard)(node)
        for name in tuple(self._on.get(node, ())):
            self.look_again(name)

    def follow(self, seen: Sighting) -> None:
        """Learn from a server that was seen."""
        name, after = seen.name, seen.pod
        if seen.flaw is None:
            self._flaws.pop(name, None)
        else:
            self._flaws[name] = seen.flaw
        self._count(name, after)
        if after is None or not has_room(after) or not is_offered(after):
            for names in self._unclaimed:
                names.discard(name)
            self._place(name, "")
            self._set(name, None)
            return
        self._place(name, node_of(after))
        leaving = node_of(after) in self._cordoned
        present = matches(after, self._present)
        outdated = is_claimable(after) and not present
        offered = is_claimable(after) and present
        diagnosis = seen.diagnosis
        waiting = diagnosis is not None and diagnosis.verdict is Verdict.WAITING
        unplaced = waiting and not after["spec"].get("nodeName")
        belonging = (
            offered,
            offered and diagnosis is None,
            offered and waiting,
            offered and unplaced and _was_tried(after),
            outdated,
            outdated and diagnosis is None,
            offered and leaving,
            offered and leaving and diagnosis is None,
        )
        for names, belongs in zip(self._unclaimed, belonging, strict=True):
            (names.add if belongs else names.discard)(name)
        self._set(name, after if diagnosis is None else None)

    def take(self, wish: Wish) -> Manifest | None:
        """Return a server that nobody else here takes until it is let go; ``None`` if none.

        Args:
            wish: Which; of the present template unless its labels say otherwise.
        """
        for is_cordoned in (False, True):
            for selector in wish.selectors:
                tiers = self._pool(selector)
                pools = tiers.cordoned if is_cordoned else tiers.open
                if wish.prefer is not None:
                    name = self._preferred(pools, wish.prefer, wish.slots)
                else:
                    name = pools.shared.best(wish.slots) or pools.whole.best()
                if name is not None:
                    self.hold(name)
                    return self.held[name]
        return None

    def unclaimed(self, count: int) -> tuple[str, ...]:
        """Return up to so many that are unclaimed and anybody's, ready or not, of any template."""
        idle = (one for one in (*self._offered, *self._outdated) if one not in self.held)
        return tuple(islice(idle, count))

    def dispensable(self, count: int) -> tuple[str, ...]:
        """Return so many free, ready servers, those first that are taken last: on empty nodes."""
        return self._emptiest_first(self._ready - self._leaving_ready, count)

    def replaceable(self, count: int, *, outdated: bool = True) -> tuple[str, ...]:
        """Return so many free servers that are to go: those first that are not ready.

        Args:
            count: How many.
            outdated: Whether those of other templates are to go, too; else only those that are
                on cordoned nodes.
        """
        if count <= 0:
            return ()
        names = self._leaving | self._outdated if outdated else self._leaving
        ready = names & (self._leaving_ready | self._outdated_ready)
        unready = self._emptiest_first(names - ready, count)
        return unready + self._emptiest_first(ready, count - len(unready))

    def _emptiest_first(self, names: set[str], count: int) -> tuple[str, ...]:
        if count <= 0:
            return ()
        taken = Counter(self._allocated.values())
        idle = names - self.held.keys()

        def place(name: str) -> tuple[bool, int, str, str]:
            node = self._node_of.get(name, "")
            return node not in self._cordoned, taken[node], node, name

        return tuple(sorted(idle, key=place)[:count])

    def _preferred(self, pools: Pools, prefer: Value, slots: int) -> str | None:
        """Return the free server of the lowest value: every one of them is read."""
        names = [*pools.shared, *pools.whole]
        found = [pod for name in names if (pod := self._store.get(name)) is not None]
        found = [pod for pod in found if has_room(pod, slots)]
        servers = [server_from_pod(pod, (), ready=True) for pod in found]
        return min(servers, key=prefer).name if servers else None

    def hold(self, name: str) -> None:
        """Keep a server from being taken here."""
        free = False
        for tiers in self._pools.values():
            free |= tiers.remove(name)
        self.held[name] = self._store.get(name) if free else None

    def look_again(self, name: str) -> None:
        """Take note of what time has changed: a reservation has run out."""
        pod = self._store.get(name)
        if pod is not None:
            self.follow(Sighting(name, pod, self._flaws.get(name)))

    def let_go(self, name: str) -> None:
        """Have a server taken again, if it is free."""
        self._set(name, self.held.pop(name, None))

    def _pool(self, selector: Selector) -> Tiers:
        if REVISION not in dict(selector):
            selector |= self._present
        tiers = self._pools.get(selector)
        if tiers is None:
            tiers = Tiers.of(self._packing, self.choice, self._chance)
            self._pools[selector] = tiers
            self._fill(tiers, selector)
            while len(self._pools) > _SELECTORS:
                oldest = next(one for one in self._pools if one != self._present)
                del self._pools[oldest]
        self._pools.move_to_end(selector)
        return tiers

    def _fill(self, tiers: Tiers, selector: Selector) -> None:
        for node in self._allocated.values():
            tiers.allocate(node, 1)
        for pod in self._store:
            name = name_of(pod)
            free = has_room(pod) and is_offered(pod) and diagnose(pod) is None
            if (
                free
                and name not in self._flaws
                and name not in self.held
                and matches(pod, selector)
            ):
                tiers.put(name, pod, is_cordoned=node_of(pod) in self._cordoned)

    def _set(self, name: str, free: Manifest | None) -> None:
        """Take note that a server is free, or is not."""
        if name in self.held:
            self.held[name] = free
            return
        for selector, tiers in self._pools.items():
            if free is not None and matches(free, selector):
                tiers.put(name, free, is_cordoned=node_of(free) in self._cordoned)
            else:
                tiers.remove(name)

    def _place(self, name: str, node: str) -> None:
        """Take note on which node a server is that may be free; on none, if it is not."""
        before = self._node_of.get(name, "")
        if node == before:
            return
        if before:
            self._on[before].discard(name)
            if not self._on[before]:
                del self._on[before]
            del self._node_of[name]
        if node:
            self._on.setdefault(node, set()).add(name)
            self._node_of[name] = node

    def _count(self, name: str, pod: Manifest | None) -> None:
        node = None
        if pod is not None and claim_state(pod) is ClaimState.ALLOCATED:
            node = node_of(pod)
            if not matches(pod, self._present):
                self._outdated_taken.add(name)
            claim = annotations_of(pod).get(CLAIM)
            if claim and name in self._offered and not has_slots(pod):  # offered till now
                self.choice.met(replica_of(claim))
        else:
            self._outdated_taken.discard(name)
        before = self._allocated.get(name)
        if node == before:
            return
        for tiers in self._pools.values():
            if before is not None:
                tiers.allocate(before, -1)
            if node is not None:
                tiers.allocate(node, 1)
        if node is None:
            del self._allocated[name]
        else:
            self._allocated[name] = node


def _was_tried(pod: Manifest) -> bool:
    """Return whether the scheduler has looked for a node, and found none."""
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one.get("type") == "PodScheduled" for one in conditions)
