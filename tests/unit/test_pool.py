"""Which free server goes first: by examples, and against a plain model."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from podfleet.fleet.pool.packing import Packing, Pool
from podfleet.fleet.pool.sharing import SlotPool

NODES = ("a", "b", "c")


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
    pool = Pool(packing, random.Random(0))
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
    pool = Pool("packed", random.Random(0))
    pool.allocate("a", 1)
    for node in NODES:
        pool.put(f"on-{node}", node)
    assert {pool.best() for _ in range(50)} == {"on-a"}
    pool.lost()
    pool.lost()
    assert {pool.best() for _ in range(50)} == {"on-a", "on-b", "on-c"}
    for _ in range(100):
        pool.won()
    assert {pool.best() for _ in range(50)} == {"on-a"}


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
