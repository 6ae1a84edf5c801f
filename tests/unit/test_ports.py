"""`PortPool` by examples: which number comes next, and who holds which."""

from typing import Any

import pytest

from podfleet import ConfigurationError, PortPool, PortPoolExhausted
from podfleet.ports import REFUSED_FOR


class Clock:
    """A clock that only the test moves; monotonic clocks may start anywhere."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_new_pool_gives_its_numbers_in_order() -> None:
    pool = PortPool(31000, 31003, exclude=[31001])
    assert [pool.acquire(), pool.acquire(), pool.acquire()] == [(31000,), (31002,), (31003,)]


def test_the_number_idle_for_longest_comes_first(clock: Clock) -> None:
    pool = PortPool(31000, 31002, reuse_after=0, clock=clock)
    pool.acquire(3, holder="a")
    for number in (31001, 31002, 31000):
        clock.now += 1
        pool.release([number])
    assert pool.acquire(3) == (31001, 31002, 31000)


def test_a_released_number_rests_while_another_is_left(clock: Clock) -> None:
    pool = PortPool(31000, 31001, reuse_after=30, clock=clock)
    for holder in ("a", "b"):
        pool.acquire(holder=holder, shared=True)
    pool.acquire(holder="c", shared=True)
    pool.release([31000, 31001], "a")
    pool.release([31000], "c")
    # Nobody holds 31000 and somebody 31001, but 31000 rests.
    assert pool.acquire(holder="d", shared=True) == (31001,)
    pool.release([31001], "d")
    clock.now += 30
    assert pool.acquire(holder="e", shared=True) == (31000,)


def test_a_number_that_rests_is_given_if_no_other_is_left(clock: Clock) -> None:
    pool = PortPool(31000, 31001, reuse_after=30, clock=clock)
    pool.acquire(2, holder="a")
    pool.release([31001], "a")
    assert pool.acquire() == (31001,)


def test_a_run_does_not_cross_an_excluded_number() -> None:
    pool = PortPool(31000, 31006, exclude=[31002])
    assert pool.acquire(3, contiguous=True) == (31003, 31004, 31005)
    assert pool.acquire(2, contiguous=True) == (31000, 31001)
    with pytest.raises(PortPoolExhausted, match="2 ports in a row: 1 of 6 are free"):
        pool.acquire(2, contiguous=True)


def test_a_run_is_the_one_idle_for_longest(clock: Clock) -> None:
    pool = PortPool(31000, 31005, reuse_after=0, clock=clock)
    pool.acquire(6, holder="a")
    for number in (31002, 31004, 31003, 31000, 31001, 31005):
        clock.now += 1
        pool.release([number])
    assert pool.acquire(2, contiguous=True) == (31002, 31003)
    assert pool.acquire(2, contiguous=True) == (31000, 31001)


def test_a_run_is_made_of_free_numbers_only() -> None:
    pool = PortPool(31000, 31005)
    pool.hold([31001, 31004], "a")
    assert pool.acquire(2, contiguous=True) == (31002, 31003)


def test_of_shared_numbers_the_least_used_comes_first() -> None:
    pool = PortPool(31000, 31002)
    for holder, number in (("a", 31000), ("b", 31000), ("c", 31001), ("d", 31002), ("e", 31002)):
        pool.hold([number], holder)
    assert pool.acquire(holder="f", shared=True) == (31001,)
    assert pool.in_use[31001] == ("c", "f")


def test_a_holder_gets_no_number_twice() -> None:
    pool = PortPool(31000, 31001)
    assert pool.acquire(holder="a", shared=True) == (31000,)
    assert pool.acquire(holder="a", shared=True) == (31001,)
    with pytest.raises(PortPoolExhausted):
        pool.acquire(holder="a", shared=True)


def test_several_numbers_are_free_together_in_one_place() -> None:
    pool = PortPool(31000, 31003)
    pool.hold([31000, 31001], "a", where="node-a")
    pool.hold([31002], "b", where="node-b")
    pool.hold([31000, 31002], "c")
    pool.hold([31000, 31002], "d")
    # The least used are 31001 and 31003; 31001 is in use on node-a, and both fit on node-b.
    assert set(pool.acquire(2, holder="e", shared=True)) == {31001, 31003}
    pool.hold([31001, 31003], "e", where="node-b")
    # Only node-a has two numbers left that are free together.
    assert set(pool.acquire(2, holder="f", shared=True)) == {31002, 31003}


def test_numbers_that_no_known_place_has_are_given_for_a_place_unknown_yet() -> None:
    pool = PortPool(31000, 31001)
    pool.hold([31000], "a", where="node-a")
    pool.hold([31001], "b", where="node-b")
    assert set(pool.acquire(2, holder="c", shared=True)) == {31000, 31001}


def test_a_holder_that_has_a_place_gets_numbers_that_are_free_there() -> None:
    pool = PortPool(31000, 31002)
    pool.hold([31000], "a", where="node-a")
    pool.hold([31001], "b", where="node-a")
    pool.hold([31002], "c", where="node-b")
    assert pool.acquire(holder="a", shared=True) == (31002,)
    with pytest.raises(PortPoolExhausted):
        pool.acquire(holder="a", shared=True)


def test_a_holder_without_a_place_gets_numbers_that_fit_with_those_it_has() -> None:
    pool = PortPool(31000, 31002)
    pool.hold([31000], "a", where="node-a")
    pool.hold([31001], "b", where="node-b")
    pool.hold([31000], "c")
    for holder in ("d", "e"):
        pool.hold([31002], holder)
    # 31001 is used less, and free on node-a; but there 31000, which c has, is not.
    assert pool.acquire(holder="c", shared=True) == (31002,)
    assert pool.acquire(holder="c", shared=True) == (31001,)


def test_what_the_cluster_shows_replaces_what_was_chosen() -> None:
    pool = PortPool(31000, 31009)
    assert pool.acquire(2, holder="a") == (31000, 31001)
    pool.hold([31001, 31005, 22], "a", where="node-a")
    assert pool.in_use == {31001: ("a",), 31005: ("a",)}
    assert pool.free == 8
    pool.hold([], "a")
    assert pool.in_use == {}


def test_a_pool_is_rebuilt_from_what_the_cluster_shows() -> None:
    before, after = PortPool(31000, 31002), PortPool(31000, 31002)
    for holder, where in (("a", "node-a"), ("b", "node-a"), ("c", "node-a")):
        before.hold(before.acquire(holder=holder, shared=True), holder, where)
    for number, holders in before.in_use.items():
        for holder in holders:
            after.hold([number], holder, "node-a")
            after.hold([number], holder, "node-a")  # told twice is told once
    assert after.in_use == before.in_use
    assert after.free == 0


def test_the_cluster_may_show_a_number_with_two_holders() -> None:
    pool = PortPool(31000, 31001)
    pool.hold([31000], "a", where="node-a")
    pool.hold([31000], "b", where="node-b")
    assert pool.in_use == {31000: ("a", "b")}
    assert pool.acquire() == (31001,)
    pool.release([31000], "a")
    assert pool.in_use == {31000: ("b",), 31001: ("anonymous-1",)}


def test_a_place_is_kept_when_all_numbers_of_its_holder_change() -> None:
    pool = PortPool(31000, 31002)
    pool.hold([31000], "a", where="node-a")
    pool.hold([31001], "a")
    pool.hold([31000], "b")
    pool.hold([31000, 31002], "c")
    # 31001 is still in use on node-a, the only place known.
    assert pool.acquire(holder="d", shared=True) == (31002,)


def test_a_holder_that_moved_leaves_its_old_place() -> None:
    pool = PortPool(31000, 31001)
    pool.hold([31000], "a", where="node-a")
    pool.hold([31001], "b", where="node-a")
    pool.hold([31000], "a", where="node-b")
    assert pool.acquire(holder="b", shared=True) == (31000,)


def test_a_released_holder_has_no_place() -> None:
    pool = PortPool(31000, 31000)
    pool.hold([31000], "a", where="node-a")
    pool.hold([], "a")
    pool.hold([31000], "b", where="node-a")
    assert pool.acquire(holder="a", shared=True) == (31000,)


def test_a_number_with_one_holder_is_released_without_naming_it() -> None:
    pool = PortPool(31000, 31001)
    pool.release(pool.acquire(2))
    assert pool.free == 2


def test_a_number_told_twice_is_released_once() -> None:
    pool = PortPool(31000, 31001)
    pool.acquire(holder="a")
    pool.release([31000, 31000])
    assert pool.free == 2


def test_what_a_holder_does_not_hold_is_passed_over() -> None:
    pool = PortPool(31000, 31001)
    pool.acquire(holder="a")
    pool.release([31000, 31001, 22], "b")
    assert pool.in_use == {31000: ("a",)}


@pytest.mark.parametrize(
    ("number", "held_by"), [(31001, "nobody"), (31002, "a, b"), (22, "nobody")]
)
def test_a_number_without_one_holder_is_not_released_unnamed(number: int, held_by: str) -> None:
    pool = PortPool(31000, 31002)
    pool.hold([31000, 31002], "a")
    pool.hold([31002], "b")
    with pytest.raises(ConfigurationError, match=f"{number}: is held by {held_by}: ") as caught:
        pool.release([31000, number])
    assert caught.value.field == "PortPool.release.ports"
    assert pool.in_use == {31000: ("a",), 31002: ("a", "b")}


@pytest.mark.parametrize("shared", [False, True])
def test_a_refused_number_comes_last_for_a_minute(clock: Clock, shared: bool) -> None:
    pool = PortPool(31000, 31001, reuse_after=30, clock=clock)
    for holder in ("a", "b"):
        pool.acquire(holder=holder)
    pool.release([31000], "a", refused=True)
    clock.now += 1
    pool.release([31001], "b")
    assert pool.acquire(2, holder="c", shared=shared) == (31001, 31000)
    pool.release([31000, 31001], "c")
    clock.now += REFUSED_FOR - 2
    assert pool.acquire(holder="d", shared=shared) == (31001,)
    pool.release([31001], "d")
    clock.now += 1
    assert pool.acquire(holder="e", shared=shared) == (31000,)


def test_a_refused_number_is_given_if_no_other_is_left(clock: Clock) -> None:
    pool = PortPool(31000, 31000, clock=clock)
    pool.release(pool.acquire(holder="a"), "a", refused=True)
    assert pool.acquire() == (31000,)


def test_a_refused_number_is_not_given_for_the_sake_of_a_known_place() -> None:
    pool = PortPool(31000, 31001)
    pool.hold([31000], "a", where="node-a")
    pool.release([31001], "b", refused=True)
    # On node-a only 31001 is free; elsewhere 31000 may be.
    assert pool.acquire(holder="c", shared=True) == (31000,)


def test_an_exhausted_pool_tells_what_was_asked_what_is_free_and_who_holds_the_rest() -> None:
    pool = PortPool(31000, 31006)
    for holder in "abcdef":
        pool.acquire(holder=holder)
    pool.hold([31000], "g")
    with pytest.raises(PortPoolExhausted) as caught:
        pool.acquire(2)
    assert str(caught.value) == (
        "PortPool(31000, 31006) cannot give 2 port(s): 1 of 7 are free (held: 31000 by a, g; "
        "31001 by b; 31002 by c; 31003 by d; 31004 by e; and 1 more). "
        "Widen the range, or release servers."
    )
    assert caught.value.asked == 2
    assert caught.value.free == 1
    assert caught.value.held_by == pool.in_use
    assert pool.free == 1


def test_more_than_there_are_is_refused_and_nothing_is_taken() -> None:
    pool = PortPool(31000, 31001)
    for shared in (False, True):
        with pytest.raises(PortPoolExhausted, match="held: none"):
            pool.acquire(3, shared=shared)
        with pytest.raises(PortPoolExhausted, match="held: none"):
            pool.acquire(3, contiguous=True, shared=shared)
    assert pool.in_use == {}


def test_what_in_use_returns_is_a_copy() -> None:
    pool = PortPool(31000, 31001)
    before = pool.in_use
    pool.acquire()
    assert before == {}


def test_a_pool_contains_the_numbers_it_may_give() -> None:
    pool = PortPool(31000, 31002, exclude=[31001, 80])
    assert 31000 in pool
    assert 31001 not in pool
    assert 80 not in pool
    assert len(pool) == 2


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ({"first": 0}, "first", 0),
        ({"first": "31000"}, "first", "31000"),
        ({"first": True}, "first", True),
        ({"first": 31010}, "first", 31010),
        ({"last": 65536}, "last", 65536),
        ({"last": 31001.0}, "last", 31001.0),
        ({"exclude": [31000, 0]}, "exclude", 0),
        ({"exclude": ["31000"]}, "exclude", "31000"),
        ({"exclude": [31001, 31000]}, "exclude", [31000, 31001]),
        ({"reuse_after": -1}, "reuse_after", -1),
        ({"reuse_after": "30"}, "reuse_after", "30"),
        ({"reuse_after": True}, "reuse_after", True),
        ({"reuse_after": None}, "reuse_after", None),
    ],
)
def test_a_wrong_argument_is_refused_by_field_and_value(
    arguments: dict[str, Any], field: str, value: object
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PortPool(**{"first": 31000, "last": 31001, **arguments})
    assert (caught.value.field, caught.value.value) == (f"PortPool.{field}", value)


def test_reuse_after_must_be_a_number() -> None:
    with pytest.raises(ConfigurationError, match=r"PortPool\.reuse_after: nan"):
        PortPool(31000, 31001, reuse_after=float("nan"))


@pytest.mark.parametrize("count", [0, -1, True, 1.0, "2"])
def test_a_count_that_is_none_is_refused(count: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PortPool(31000, 31001).acquire(count)
    assert (caught.value.field, caught.value.value) == ("PortPool.acquire.count", count)
