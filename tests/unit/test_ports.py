"""PortPool by examples."""

import threading
from typing import Any

import pytest

from podfleet import ConfigurationError, PortPool, PortPoolExhausted
from podfleet.ports import REFUSED_FOR


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        (lambda: PortPool(0, 10), "PortPool.first", 0),
        (lambda: PortPool(1, 65536), "PortPool.last", 65536),
        (lambda: PortPool(True, 10), "PortPool.first", True),
        (lambda: PortPool(11, 10), "PortPool.first", 11),
        (lambda: PortPool(1, 3, exclude=[0]), "PortPool.exclude", 0),
        (lambda: PortPool(1, 2, exclude=[1, 2]), "PortPool.exclude", [1, 2]),
        (lambda: PortPool(1, 2, reuse_after=-1), "PortPool.reuse_after", -1),
        (lambda: PortPool(1, 2).acquire(0), "PortPool.acquire.count", 0),
        (lambda: PortPool(1, 2).release([1]), "PortPool.release.ports", 1),
    ],
)
def test_a_wrong_value_is_refused_by_field_and_value(make: Any, field: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert (caught.value.field, caught.value.value) == (field, value)


def test_longest_idle_first() -> None:
    pool = PortPool(1, 3)
    assert [pool.acquire(holder="x")[0] for _ in range(3)] == [1, 2, 3]
    pool.release([2], "x")
    pool.release([1], "x")
    assert pool.acquire(2) == (2, 1)


def test_an_excluded_number_is_never_given() -> None:
    pool = PortPool(1, 3, exclude=[2])
    assert pool.acquire(2) == (1, 3)
    assert (len(pool), 2 in pool) == (2, False)


def test_a_number_rests_while_another_is_left() -> None:
    clock = Clock()
    pool = PortPool(1, 2, reuse_after=30, clock=clock)
    pool.hold([1], "a", where="node-a")
    pool.hold([2], "b", where="node-a")
    pool.release([1], "a")
    assert pool.acquire(holder="c", shared=True) == (1,)  # the only one free in node-a
    pool.release([1], "c")
    pool.release([2], "b")
    pool.hold([1], "d", where="node-b")
    pool.release([1], "d")
    clock.now += 31
    pool.hold([1], "e")
    pool.release([1], "e")  # just now
    assert pool.acquire(shared=True) == (2,)


def test_contiguous_numbers_do_not_cross_a_gap() -> None:
    pool = PortPool(1, 7, exclude=[3])
    pool.hold([5], "x")
    assert pool.acquire(2, contiguous=True) == (1, 2)
    assert pool.acquire(2, contiguous=True) == (6, 7)
    with pytest.raises(PortPoolExhausted, match="2 ports in a row"):
        pool.acquire(2, contiguous=True)
    assert pool.free == 1


def test_contiguous_numbers_are_those_longest_idle() -> None:
    clock = Clock()
    pool = PortPool(1, 4, clock=clock)
    first = pool.acquire(2, contiguous=True, holder="a")
    clock.now += 100
    pool.release(first, "a")
    clock.now += 100
    assert pool.acquire(2, contiguous=True) == (3, 4)


def test_exhausted_says_what_was_asked_what_is_free_and_who_has_the_rest() -> None:
    pool = PortPool(31000, 31002)
    pool.acquire(2, holder="games/arena-1")
    with pytest.raises(PortPoolExhausted) as caught:
        pool.acquire(2)
    error = caught.value
    assert (error.asked, error.free) == (2, 1)
    assert error.held_by == {31000: ("games/arena-1",), 31001: ("games/arena-1",)}
    assert str(error) == (
        "PortPool(31000, 31002) cannot give 2 port(s): 1 of 3 are free (held: 31000 by "
        "games/arena-1; 31001 by games/arena-1). Widen the range, or release servers."
    )
    assert pool.free == 1  # nothing was taken


def test_shared_numbers_are_the_least_used() -> None:
    pool = PortPool(1, 2)
    given = [pool.acquire(holder=f"s{i}", shared=True)[0] for i in range(5)]
    assert given == [1, 2, 1, 2, 1]
    assert dict(pool.in_use) == {1: ("s0", "s2", "s4"), 2: ("s1", "s3")}


def test_shared_numbers_are_free_together_in_one_place() -> None:
    pool = PortPool(1, 4)
    pool.hold([1, 2], "a", where="node-a")
    pool.hold([3, 4], "b", where="node-b")
    # One each from 1, 2 and 3, 4 would be as little used, and fit on no node.
    assert set(pool.acquire(2, holder="c", shared=True)) in ({1, 2}, {3, 4})


def test_shared_numbers_are_not_capped_by_the_places_known() -> None:
    pool = PortPool(1, 1)
    pool.hold([1], "a", where="node-a")
    assert pool.acquire(holder="b", shared=True) == (1,)  # a node may join


def test_a_holder_never_gets_a_number_twice() -> None:
    pool = PortPool(1, 2)
    pool.acquire(holder="a", shared=True)
    assert pool.acquire(holder="a", shared=True) == (2,)
    with pytest.raises(PortPoolExhausted):
        pool.acquire(holder="a", shared=True)


def test_hold_replaces_what_the_holder_had() -> None:
    pool = PortPool(1, 5)
    pool.acquire(2, holder="a")
    pool.hold([4, 99], "a", where="node-a")  # rewritten by the platform
    assert dict(pool.in_use) == {4: ("a",)}
    pool.hold([4], "a", where="node-a")
    assert dict(pool.in_use) == {4: ("a",)}
    pool.hold([], "a")
    assert dict(pool.in_use) == {}


def test_hold_learns_the_place_later() -> None:
    pool = PortPool(1, 2)
    pool.acquire(holder="a", shared=True)
    pool.hold([1], "a", where="node-a")
    pool.hold([2], "b", where="node-b")
    pool.hold([1], "a", where="node-b")  # moved: both are in node-b now
    assert pool.acquire(holder="c", shared=True) == (1,)


def test_the_cluster_is_right_about_a_number_held_twice() -> None:
    pool = PortPool(1, 2)
    pool.acquire(holder="a")
    pool.hold([1], "b")
    assert pool.in_use[1] == ("a", "b")
    with pytest.raises(ConfigurationError, match="a, b"):
        pool.release([1])
    pool.release([1], "a")
    assert pool.in_use[1] == ("b",)


def test_released_twice_is_released_once() -> None:
    pool = PortPool(1, 2)
    taken = pool.acquire(holder="a")
    pool.release(taken, "a")
    pool.release(taken, "a")
    pool.release([99], "a")
    assert pool.free == 2


def test_a_refused_number_is_given_last_for_a_minute() -> None:
    clock = Clock()
    pool = PortPool(1, 2, clock=clock, reuse_after=0)
    taken = pool.acquire(holder="a", shared=True)
    pool.release(taken, "a", refused=True)
    assert pool.acquire(holder="b", shared=True) == (2,)
    assert pool.acquire(holder="c", shared=True) == (2,)  # shared rather than refused
    pool.release([2], "c")
    clock.now += REFUSED_FOR
    assert pool.acquire(holder="d", shared=True) == (1,)


def test_a_refused_number_is_passed_over_even_if_a_place_has_no_other() -> None:
    pool = PortPool(1, 3)
    pool.release([1], "stranger", refused=True)
    pool.hold([2], "a", where="node-a")
    pool.hold([3], "b", where="node-a")
    assert pool.acquire(holder="c", shared=True) != (1,)


def test_threads_never_get_one_number_twice_and_lose_none() -> None:
    pool = PortPool(1, 40)
    guard, held, doubles = threading.Lock(), set[int](), list[int]()

    def play(name: str) -> None:
        for turn in range(2000):
            numbers = pool.acquire(1 + turn % 3, holder=name)
            with guard:
                doubles.extend(held & set(numbers))
                held.update(numbers)
            with guard:
                held.difference_update(numbers)
            pool.release(numbers, name)

    threads = [threading.Thread(target=play, args=(f"t{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert doubles == []
    assert (pool.free, dict(pool.in_use)) == (40, {})
