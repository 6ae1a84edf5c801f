"""`PortPool` against a model that is too simple to be wrong, and under threads."""

import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from podfleet import PortPool, PortPoolExhausted
from podfleet.ports import REFUSED_FOR

FIRST, LAST, EXCLUDED = 31000, 31009, 31004
REUSE_AFTER = 30.0
NUMBERS = [number for number in range(FIRST, LAST + 1) if number != EXCLUDED]

holders = st.sampled_from(["a", "b", "c", "d", "e"])
places = st.sampled_from([None, "node-a", "node-b"])
counts = st.integers(1, 4)
port_sets = st.sets(st.integers(FIRST - 1, LAST), max_size=4)


class PortPoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pool = PortPool(
            FIRST, LAST, exclude=[EXCLUDED], reuse_after=REUSE_AFTER, clock=lambda: self.now
        )
        self.held: dict[str, set[int]] = {}
        self.place: dict[str, str] = {}
        self.released: dict[int, float] = {}
        self.refused: dict[int, float] = {}
        self.idle = list(NUMBERS)  # those that nobody holds, longest first

    @rule(count=counts, holder=holders)
    def acquire(self, count: int, holder: str) -> None:
        best = sorted(self.idle, key=self.delay)[:count]
        given = self.given(count, holder, contiguous=False, shared=False)
        assert given == (tuple(best) if len(best) == count else None)

    @rule(count=counts, holder=holders)
    def acquire_a_run(self, count: int, holder: str) -> None:
        runs = self.runs(count, self.idle)
        worst = {run: max((self.delay(n), self.idle.index(n)) for n in run) for run in runs}
        given = self.given(count, holder, contiguous=True, shared=False)
        if given is None:
            assert not runs
        else:
            assert worst[given] == min(worst.values())

    @rule(count=counts, holder=holders, contiguous=st.booleans())
    def acquire_shared(self, count: int, holder: str, contiguous: bool) -> None:
        rooms = self.rooms(holder)
        uses = {number: len(self.holders_of(number)) for number in NUMBERS}
        given = self.given(count, holder, contiguous=contiguous, shared=True)
        for allow_refused in (False, True):
            usable = {n for n in NUMBERS if allow_refused or self.delay(n) < 2}
            for candidates in rooms:
                fitting = [room & usable for room in candidates]
                if not any(self.fits(count, room, contiguous) for room in fitting):
                    continue
                assert given is not None
                assert any(room.issuperset(given) for room in fitting)
                if count == 1:
                    ranks = {(self.delay(n), uses[n]) for room in fitting for n in room}
                    assert (self.delay(given[0]), uses[given[0]]) == min(ranks)
                return
        assert given is None

    @rule(ports=port_sets, holder=holders, where=places)
    def hold(self, ports: set[int], holder: str, where: str | None) -> None:
        self.pool.hold(sorted(ports), holder, where)
        now = ports.intersection(NUMBERS)
        before = set(self.held.get(holder, ()))
        self.note_taken(holder, now - before)
        if where is not None and now:
            self.place[holder] = where
        self.note_given_back(holder, before - now)

    @rule(ports=port_sets, holder=holders, refused=st.booleans())
    def release(self, ports: set[int], holder: str, refused: bool) -> None:
        self.pool.release(sorted(ports), holder, refused=refused)
        self.note_given_back(holder, ports & self.held.get(holder, set()))
        if refused:
            self.refused |= dict.fromkeys(ports, self.now)

    @rule(holder=holders)
    def release_all(self, holder: str) -> None:
        numbers = set(self.held.get(holder, ()))
        self.pool.release(sorted(numbers), holder)
        self.note_given_back(holder, numbers)

    @rule(seconds=st.sampled_from([1.0, REUSE_AFTER, REFUSED_FOR]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_pool_tells_what_the_model_knows(self) -> None:
        in_use = self.pool.in_use
        assert {number: set(names) for number, names in in_use.items()} == {
            number: names for number in NUMBERS if (names := self.holders_of(number))
        }
        assert all(len(names) == len(set(names)) for names in in_use.values())
        assert self.pool.free + len(in_use) == len(self.pool) == len(NUMBERS)

    def teardown(self) -> None:
        """Show that nothing was lost: given back, every number is to be had again."""
        for holder in list(self.held):
            self.pool.hold((), holder)
        assert self.pool.in_use == {}
        assert sorted(self.pool.acquire(len(NUMBERS))) == NUMBERS

    def given(
        self, count: int, holder: str, *, contiguous: bool, shared: bool
    ) -> tuple[int, ...] | None:
        """Acquire, and check what holds for all that is ever given."""
        free, held_by = self.pool.free, self.pool.in_use
        try:
            given = self.pool.acquire(count, contiguous, holder, shared=shared)
        except PortPoolExhausted as error:
            told = (error.asked, error.free, error.held_by)
            given = ()
        if not given:
            assert told == (count, free, held_by)
            return None
        assert len(set(given)) == count
        assert not self.held.get(holder, set()).intersection(given)
        if contiguous:
            assert list(given) == list(range(given[0], given[0] + count))
        if not shared:
            assert not any(map(self.holders_of, given))
        self.note_taken(holder, given)
        return given

    def rooms(self, holder: str) -> list[list[set[int]]]:
        """Return the numbers that fit at each known place; then those of an unknown one."""
        own = self.held.get(holder, set())
        used = {
            where: {n for name, at in self.place.items() if at == where for n in self.held[name]}
            for where in self.place.values()
        }
        if holder in self.place:
            return [[set(NUMBERS) - used[self.place[holder]]]]
        free = set(NUMBERS) - own
        return [[free - taken for taken in used.values() if not own & taken], [free]]

    def fits(self, count: int, room: set[int], contiguous: bool) -> bool:
        return bool(self.runs(count, room)) if contiguous else len(room) >= count

    def runs(self, count: int, numbers: Iterable[int]) -> list[tuple[int, ...]]:
        runs = [tuple(range(first, first + count)) for first in NUMBERS]
        return [run for run in runs if set(run).issubset(numbers)]

    def holders_of(self, number: int) -> set[str]:
        return {holder for holder, numbers in self.held.items() if number in numbers}

    def delay(self, number: int) -> int:
        if number in self.refused and self.now - self.refused[number] < REFUSED_FOR:
            return 2
        return int(number in self.released and self.now - self.released[number] < REUSE_AFTER)

    def note_taken(self, holder: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.held.setdefault(holder, set()).add(number)
            if number in self.idle:
                self.idle.remove(number)

    def note_given_back(self, holder: str, numbers: set[int]) -> None:
        for number in sorted(numbers):
            self.held[holder].remove(number)
            self.released[number] = self.now
            if not self.holders_of(number):
                self.idle.append(number)
        if not self.held.get(holder, True):
            del self.held[holder]
            self.place.pop(holder, None)


TestPortPool = PortPoolMachine.TestCase


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Have threads take turns so often that they meet in the middle of everything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_threads_never_hold_a_number_together_and_lose_none() -> None:
    threads, rounds = 8, 2_000
    # 7 others hold 14 numbers at most: of 30, two in a row are always free.
    pool = PortPool(31000, 31029, reuse_after=0)
    taken: dict[int, str] = {}
    begin = threading.Barrier(threads)

    def play(holder: str) -> None:
        begin.wait()
        for turn in range(rounds):
            count = 1 + turn % 2
            numbers = pool.acquire(count, contiguous=turn % 3 == 0, holder=holder)
            for number in numbers:
                assert taken.setdefault(number, holder) == holder  # setdefault is atomic
            for number in numbers:
                del taken[number]
            pool.release(numbers, holder)

    with ThreadPoolExecutor(threads) as executor:
        for played in [executor.submit(play, f"thread-{n}") for n in range(threads)]:
            played.result(timeout=60)
    assert pool.in_use == {}
    assert pool.free == len(pool) == 30
    assert sorted(pool.acquire(30)) == list(range(31000, 31030))
