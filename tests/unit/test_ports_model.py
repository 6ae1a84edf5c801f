"""PortPool against a simple model, by whatever hypothesis thinks of."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from podfleet import PortPool, PortPoolExhausted

FIRST, LAST, GAP = 10, 18, 14
NUMBERS = [number for number in range(FIRST, LAST + 1) if number != GAP]
HOLDERS = st.sampled_from([f"server-{index}" for index in range(6)])
PLACES = st.sampled_from(["node-a", "node-b"])
COUNTS = st.integers(1, 3)


class PoolMachine(RuleBasedStateMachine):
    """The model: who holds what and where, and when each number was released."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pool = PortPool(FIRST, LAST, exclude=[GAP], reuse_after=30, clock=lambda: self.now)
        self.held: dict[str, set[int]] = {}
        self.place: dict[str, str] = {}
        self.released: dict[int, float] = {}

    def users(self, number: int) -> set[str]:
        return {holder for holder, numbers in self.held.items() if number in numbers}

    def free(self) -> list[int]:
        return [number for number in NUMBERS if not self.users(number)]

    def at(self, place: str) -> set[int]:
        return {
            n for holder, where in self.place.items() if where == place for n in self.held[holder]
        }

    def take(self, holder: str, numbers: tuple[int, ...]) -> None:
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= set(NUMBERS)
        self.held.setdefault(holder, set()).update(numbers)

    def drop(self, holder: str, numbers: set[int]) -> None:
        for number in numbers:
            self.released[number] = self.now
        self.held[holder] -= numbers
        if not self.held[holder]:
            del self.held[holder]
            self.place.pop(holder, None)

    @rule(holder=HOLDERS, count=COUNTS)
    def acquire(self, holder: str, count: int) -> None:
        """An exclusive number had no holder, and none that was free had been idle for longer."""
        free = self.free()
        try:
            numbers = self.pool.acquire(count, holder=holder)
        except PortPoolExhausted as error:
            assert len(free) < count
            assert (error.asked, error.free) == (count, len(free))
            return
        assert set(numbers) <= set(free)
        idle_since = [self.released.get(number, -1.0) for number in free]
        assert sorted(self.released.get(n, -1.0) for n in numbers) == sorted(idle_since)[:count]
        self.take(holder, numbers)

    @rule(holder=HOLDERS, count=COUNTS)
    def acquire_contiguous(self, holder: str, count: int) -> None:
        """A run has no gap, and there was none if it is refused."""
        free = set(self.free())
        runs = [
            set(range(start, start + count))
            for start in NUMBERS
            if set(range(start, start + count)) <= free
        ]
        try:
            numbers = self.pool.acquire(count, contiguous=True, holder=holder)
        except PortPoolExhausted:
            assert not runs
            return
        assert set(numbers) in runs
        self.take(holder, numbers)

    @rule(holder=HOLDERS, count=COUNTS)
    def acquire_shared(self, holder: str, count: int) -> None:
        """Shared numbers are free together in a place, if there is one that has so many."""
        own = self.held.get(holder, set())
        sits = self.place.get(holder)
        places = {sits} if sits else {p for p in self.place.values() if not own & self.at(p)}
        room = {where: set(NUMBERS) - self.at(where) - own for where in places}
        try:
            numbers = self.pool.acquire(count, holder=holder, shared=True)
        except PortPoolExhausted:
            left = room[sits] if sits else set(NUMBERS) - own  # it needs more where it sits
            assert len(left) < count
            return
        assert not set(numbers) & own
        if any(len(numbers_there) >= count for numbers_there in room.values()):
            assert any(set(numbers) <= numbers_there for numbers_there in room.values())
        self.take(holder, numbers)

    @rule(
        holder=HOLDERS, numbers=st.sets(st.integers(FIRST - 2, LAST + 2), max_size=3), where=PLACES
    )
    def hold(self, holder: str, numbers: set[int], where: str) -> None:
        """The cluster shows a server on a node: its numbers replace what was known."""
        self.pool.hold(numbers, holder, where)
        known = numbers & set(NUMBERS)
        gone = self.held.get(holder, set()) - known
        for number in gone:
            self.released[number] = self.now
        self.held.pop(holder, None)
        self.place.pop(holder, None)
        if known:
            self.held[holder] = known
            self.place[holder] = where

    @precondition(lambda self: self.held)
    @rule(data=st.data(), twice=st.booleans())
    def release(self, data: st.DataObject, twice: bool) -> None:
        """What is released twice is released once."""
        holder = data.draw(st.sampled_from(sorted(self.held)))
        numbers = data.draw(st.sets(st.sampled_from(sorted(self.held[holder])), min_size=1))
        self.pool.release(numbers, holder)
        if twice:
            self.pool.release(numbers, holder)
        self.drop(holder, numbers)

    @rule(seconds=st.floats(0.5, 60))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_lost_and_nothing_invented(self) -> None:
        shown = {number: set(holders) for number, holders in self.pool.in_use.items()}
        assert shown == {n: self.users(n) for n in NUMBERS if self.users(n)}
        assert self.pool.free == len(self.free())
        assert self.pool.free + len(shown) == len(self.pool) == len(NUMBERS)


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPool = PoolMachine.TestCase
