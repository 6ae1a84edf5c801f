"""Which free server goes first: by examples, and against a plain model."""

import math
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podfleet.fleet.pool.choice import Choice
from podfleet.fleet.pool.free import FreeServers, Wish
from podfleet.fleet.pool.packing import Packing, Pool
from podfleet.fleet.pool.ranking import Ranking, Value
from podfleet.fleet.pool.sharing import SlotPool
from podfleet.fleet.sighting import Sighting
from podfleet.kube import Store
from podfleet.model import GameServer, Manifest
from podfleet.model.names import CLAIM, REVISION, SESSIONS, SLOTS, STATE
from tests.soak.measure import tables

NODES = ("a", "b", "c")


def choice(replica: str = "me", clock: Callable[[], float] = lambda: 0.0) -> Choice:
    return Choice(replica, random.Random(replica), clock)


STORY = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove", "allocate", "end"]),
        st.integers(0, 8),
        st.sampled_from(NODES),
    ),
    max_size=40,
)


@given(STORY, st.sampled_from(["packed", "spread"]))
def test_the_order_of_the_nodes(story: list[tuple[str, int, str]], packing: Packing) -> None:
    pool = Pool(packing, choice(), random.Random(0))
    free: dict[str, str] = {}
    allocated: Counter[str] = Counter()
    for what, number, node in story:
        server = f"server-{number}"
        if what == "put":
            pool.put(server, node)
            free.setdefault(server, node)
        elif what == "remove":
            pool.remove(server)
            free.pop(server, None)
        elif what == "allocate":
            pool.allocate(node, 1)
            allocated[node] += 1
        elif allocated[node]:
            pool.allocate(node, -1)
            allocated[node] -= 1
        best = pool.best()
        assert len(pool) == len(free)
        assert set(pool) == set(free)
        if not free:
            assert best is None
            continue
        assert best in free
        taken = [allocated[one] for one in free.values()]
        wanted = max(taken) if packing == "packed" else min(taken)
        assert allocated[free[best]] == wanted


def test_lost_races_widen_the_choice_and_won_ones_narrow_it() -> None:
    chosen = choice()
    pool = Pool("packed", chosen, random.Random(0))
    pool.allocate("a", 1)
    for node in NODES:
        pool.put(f"on-{node}", node)
    assert {pool.best() for _ in range(50)} == {"on-a"}
    chosen.lost()
    chosen.lost()
    assert {pool.best() for _ in range(50)} == {"on-a", "on-b", "on-c"}
    for _ in range(200):
        chosen.won()
    assert {pool.best() for _ in range(50)} == {"on-a"}


def test_replicas_that_have_met_never_choose_the_same_while_their_shares_last() -> None:
    replicas = [choice(name) for name in "abcd"]
    for one in replicas:
        for name in "abcd":
            one.met(name)
    order = [f"server-{number}" for number in range(200)]
    for _ in range(30):  # each chooses before it has seen what the others chose
        chosen = {one.among(order) or "none" for one in replicas}
        assert len(chosen) == 4
        assert max(map(order.index, chosen)) < 25  # nor does one go far for its own
        order = [name for name in order if name not in chosen]


@given(st.sets(st.text("abc", min_size=1), max_size=40), st.sets(st.sampled_from("xyz")))
def test_there_is_a_choice_as_long_as_there_are_servers(names: set[str], others: set[str]) -> None:
    one, order = choice(), sorted(names)
    for other in others:
        one.met(other)
    while order:
        order.remove(one.among(order) or "none")
    assert one.among(order) is None


def test_a_replica_that_claims_no_more_has_no_share() -> None:
    now = 0.0
    one = choice("me", lambda: now)
    order = [f"server-{number}" for number in range(9)]
    assert one.among(order) == order[0]
    first = 0
    for name in ("r", "s", "t"):
        one.met(name)
        first = max(first, order.index(one.among(order) or "none"))
    assert first > 0  # the best was another's
    now = 61.0
    assert one.among(order) == order[0]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=30),
    st.integers(1, 4),
)
def test_the_fullest_that_fits(story: list[tuple[int, int]], slots: int) -> None:
    pool = SlotPool(random.Random(0))
    free: dict[str, int] = {}
    for number, count in story:
        server = f"server-{number}"
        if count:
            pool.put(server, count)
            free[server] = count
        else:
            pool.remove(server)
            free.pop(server, None)
    assert set(pool) == set(free)
    fitting = [count for count in free.values() if count >= slots]
    best = pool.best(slots)
    assert (best is None) == (not fitting)
    if best is not None:
        assert free[best] == min(fitting)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["free", "unready", "allocated", "outdated", "gone", "cordon", "uncordon"]),
        st.integers(0, 7),
        st.sampled_from(NODES),
    ),
    max_size=40,
)


@given(EVENTS, st.sampled_from(["packed", "spread", "ranked"]))
def test_what_is_on_a_cordoned_node_is_taken_last_and_replaced_first(
    story: list[tuple[str, int, str]], packing: str
) -> None:
    store = Store(may_return=True)  # a name is used again
    order: Packing | Value = (lambda one: len(one.node or "")) if packing == "ranked" else packing  # type: ignore[assignment]
    free = FreeServers(store, "r", order, random.Random(0))
    store.listen(lambda change: free.follow(Sighting(change.name, change.after)))
    shown: dict[str, tuple[str, str]] = {}
    cordoned: set[str] = set()
    for turn, (what, number, node) in enumerate(story, start=1):
        name = f"arena-{number}"
        if what in ("cordon", "uncordon"):
            (cordoned.add if what == "cordon" else cordoned.discard)(node)
            free.cordon(node, what == "cordon")
        elif what == "gone":
            if name in shown:
                store.forget(pod_of(name, *shown.pop(name), turn))
        else:
            node = shown[name][1] if name in shown else node  # a Pod stays where it is
            shown[name] = (what, node)
            store.observe(pod_of(name, what, node, turn))
        ready = {one: on for one, (state, on) in shown.items() if state == "free"}
        offered = {one: on for one, (state, on) in shown.items() if state in ("free", "unready")}
        leaving = {one for one, on in offered.items() if on in cordoned}
        old = {one for one, (state, _) in shown.items() if state == "outdated"}
        assert free.leaving == len(leaving)
        assert free.leaving_ready == len(leaving & ready.keys())
        assert free.offered == len(offered.keys() - leaving)
        assert free.ready == len(ready.keys() - leaving)
        assert set(free.replaceable(99)) == leaving | old
        assert set(free.replaceable(99, outdated=False)) == leaving
        assert set(free.dispensable(99)) == ready.keys() - leaving
        assert set(free.unclaimed(99)) == offered.keys() | old
        taken = free.take(Wish())
        assert (taken is None) == (not ready)
        if taken is not None:
            chosen = taken["metadata"]["name"]
            others = {one for one, on in ready.items() if on not in cordoned}
            assert chosen in (others or ready)
            free.let_go(chosen)


def pod_of(name: str, what: str, node: str, turn: int) -> Manifest:
    """Return a server as it is after so many events."""
    state = "allocated" if what == "allocated" else "unclaimed"
    ready = {"type": "Ready", "status": str(what != "unready")}
    return {
        "metadata": {
            "name": name,
            "namespace": "games",
            "uid": name,
            "resourceVersion": str(turn),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {STATE: state, REVISION: "q" if what == "outdated" else "r"},
        },
        "spec": {"nodeName": node, "containers": [{"name": "server"}]},
        "status": {"phase": "Running", "conditions": [ready]},
    }


def ranked(name: str, value: float | str) -> Manifest:
    return {
        "metadata": {
            "name": name,
            "namespace": "games",
            "uid": name,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"value": str(value)},
        },
        "spec": {},
    }


def value_of(server: GameServer) -> float:
    return float(server.annotations["value"])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 4)), max_size=30))
def test_the_lowest_value_goes_first(story: list[tuple[int, int]]) -> None:
    pool = Ranking(value_of, choice())
    free: dict[str, int] = {}
    for number, value in story:
        name = f"server-{number}"
        if value < 0:
            pool.remove(name)
            free.pop(name, None)
        else:
            pool.put(ranked(name, value))
            free[name] = value
        best = pool.best()
        assert set(pool) == set(free)
        assert all(name in pool for name in free)
        assert (best is None) == (not free)
        if best is not None:
            assert free[best] == min(free.values())


def test_a_server_for_which_the_function_fails_goes_last(caplog: pytest.LogCaptureFixture) -> None:
    pool = Ranking(value_of, choice())
    pool.put(ranked("odd", "nonsense"))
    assert "odd goes last" in caplog.text
    pool.put(ranked("none", math.nan))
    pool.put(ranked("well", 7))
    assert pool.best() == "well"
    pool.remove("well")
    pool.remove("odd")
    assert pool.best() == "none"


def test_lost_races_widen_the_choice_of_ranked_servers() -> None:
    chosen = choice()
    pool = Ranking(value_of, chosen)
    for value in range(5):
        pool.put(ranked(f"server-{value}", value))
    assert {pool.best() for _ in range(50)} == {"server-0"}
    chosen.lost()
    assert {pool.best() for _ in range(50)} == {"server-0", "server-1"}


def test_whoever_claims_slots_of_shared_servers_is_no_replica_that_is_kept() -> None:
    """A change of slots is called as its request is: by as many names as there are requests."""
    store = Store()
    free = FreeServers(store, "r", "packed", random.Random(0))
    store.listen(lambda change: free.follow(Sighting(change.name, change.after)))
    for number in range(9):
        for turn, what in enumerate(("free", "allocated")):
            pod = pod_of(f"arena-{number}", what, "a", 2 * number + turn + 1)
            notes = {SLOTS: "3", CLAIM: f"{number:032d}"[::-1], SESSIONS: '{"red":1}'}
            shared = notes if what == "allocated" else {SLOTS: "3"}
            store.observe({**pod, "metadata": {**pod["metadata"], "annotations": shared}})
    assert not tables([free])["Choice._met"]
