"""`PortPool`: which port numbers to use, and which are in use. No Kubernetes in it."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Final

from podfleet.errors import ConfigurationError, PortPoolExhausted
from podfleet.model.plain import check_flag, check_text, each

__all__ = ["PortPool"]

REFUSED_FOR: Final = 60.0
"""Seconds that a number which the cluster refused goes to the end of the line: somebody
outside the pool's knowledge uses it."""

_SHOWN_HOLDERS: Final = 5
_REFUSED: Final = 2


class PortPool:
    """A range of port numbers, and who holds which.

    Exclusive by default: a number has one holder. Longest idle first, because a UDP port that
    is reused at once meets stale conntrack entries, and late packets of the last match.

    Safe from any number of threads. Nothing is written down: after a restart `hold` tells it
    what the cluster shows.

    Args:
        first: The first number, 1 to 65535.
        last: The last number, itself included.
        exclude: Numbers that are never given.
        reuse_after: Seconds for which a released number rests; it is given before only if no
            other is left.
        clock: Seconds on a clock that never goes back.

    Raises:
        ConfigurationError: No port numbers, ``first > last``, or nothing left to give.

    Example:
        >>> pool = PortPool(31000, 31003, exclude=[31001])
        >>> pool.acquire(2, holder="arena-1")
        (31000, 31002)
        >>> dict(pool.in_use), pool.free, len(pool)
        ({31000: ('arena-1',), 31002: ('arena-1',)}, 1, 3)
        >>> pool.release([31000, 31002], "arena-1")
        >>> pool.acquire()
        (31003,)
    """

    def __init__(
        self,
        first: int,
        last: int,
        exclude: Iterable[int] = (),
        reuse_after: float = 30.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.first = _port("PortPool.first", first)
        self.last = _port("PortPool.last", last)
        if first > last:
            raise ConfigurationError("PortPool.first", first, f"must not be above last, {last}")
        given = each("PortPool.exclude", exclude, "[31001]")
        excluded = {_port("PortPool.exclude", number) for number in given}
        if not _is_number(reuse_after, int | float) or not reuse_after >= 0:
            raise ConfigurationError(
                "PortPool.reuse_after", reuse_after, "must be a number of seconds, 0 or more"
            )
        self._numbers = tuple(n for n in range(first, last + 1) if n not in excluded)
        if not self._numbers:
            raise ConfigurationError(
                "PortPool.exclude", sorted(excluded), "leaves no number to give"
            )
        if not callable(clock):
            raise ConfigurationError("PortPool.clock", clock, "must be a function")
        self._reuse_after = reuse_after
        self._clock = clock
        self._lock = threading.Lock()
        self._anonymous = itertools.count(1)
        self._holders: dict[int, dict[str, None]] = {number: {} for number in self._numbers}
        self._held: dict[str, set[int]] = {}
        self._place: dict[str, str] = {}
        self._at: dict[str, Counter[int]] = {}
        self._released: dict[int, float] = {}
        self._refused: dict[int, float] = {}
        # Numbers by how many hold them; in each, the longest there first. The next number is
        # found at the front of the first, whatever the pool's size.
        self._by_use: dict[int, OrderedDict[int, None]] = {0: OrderedDict.fromkeys(self._numbers)}

    def __repr__(self) -> str:
        """Return the range, as the constructor takes it."""
        return f"PortPool({self.first}, {self.last})"

    def __len__(self) -> int:
        """Return how many numbers there are, in use or not."""
        return len(self._numbers)

    def __contains__(self, number: object) -> bool:
        """Return whether the number is the pool's to give."""
        return number in self._holders

    @property
    def free(self) -> int:
        """How many numbers nobody holds."""
        with self._lock:
            return len(self._by_use[0])

    @property
    def in_use(self) -> Mapping[int, tuple[str, ...]]:
        """Each number in use, with its holders: a copy."""
        with self._lock:
            return self._in_use()

    def acquire(
        self,
        count: int = 1,
        contiguous: bool = False,
        holder: str | None = None,
        *,
        shared: bool = False,
    ) -> tuple[int, ...]:
        """Take numbers.

        Args:
            count: How many.
            contiguous: In one run, without a gap.
            holder: Who takes them; by default nobody in particular.
            shared: Numbers that others hold may be given too, the least used first: a hostPort
                may be in use on every node once. Several numbers are chosen so that, as far as
                `hold` has told, they are free together in one place.

        Returns:
            The numbers; in ascending order if contiguous, else the best first.

        Raises:
            PortPoolExhausted: There are not as many.
            ConfigurationError: ``count`` is not a whole number above 0.

        Example:
            >>> pool = PortPool(31000, 31001)
            >>> pool.acquire(holder="a", shared=True), pool.acquire(holder="b", shared=True)
            ((31000,), (31001,))
            >>> pool.acquire(holder="c", shared=True)
            (31000,)
        """
        if not _is_number(count, int) or count < 1:
            raise ConfigurationError("PortPool.acquire.count", count, "must be 1 or more")
        check_flag("PortPool.acquire.contiguous", contiguous)
        check_flag("PortPool.acquire.shared", shared)
        if holder is not None:
            check_text("PortPool.acquire.holder", holder)
        with self._lock:
            name = holder if holder is not None else f"anonymous-{next(self._anonymous)}"
            pick = self._run if contiguous else self._best
            chosen = self._choose(count, name, pick, shared=shared)
            if chosen is None:
                raise self._exhausted(count, contiguous=contiguous)
            for number in chosen:
                self._add(number, name)
            return tuple(chosen)

    def hold(self, ports: Iterable[int], holder: str, where: str | None = None) -> None:
        """Take note of what the cluster shows: this holder has these numbers, and no others.

        Numbers that are not the pool's are passed over. A number may get a second holder: the
        cluster is right.

        Args:
            ports: All its numbers, as read back; none if it is gone.
            holder: Who holds them.
            where: The place they are in use, if it has one yet: the node.

        Example:
            >>> pool = PortPool(31000, 31009)
            >>> pool.hold([31004, 22], "games/arena-1", where="node-a")
            >>> dict(pool.in_use)
            {31004: ('games/arena-1',)}
        """
        check_text("PortPool.hold.holder", holder)
        if where is not None:
            check_text("PortPool.hold.where", where)
        now = {number for number in _numbers("hold", ports) if number in self._holders}
        with self._lock:
            before = set(self._held.get(holder, ()))
            if before and self._place.get(holder) != where and where is not None:
                self._move(holder, before, where)
            if where is not None and now:
                self._place[holder] = where
            for number in sorted(now - before):
                self._add(number, holder)
            # Last: who holds nothing has no place, and this one may only have changed numbers.
            for number in sorted(before - now):
                self._remove(number, holder)

    def release(
        self, ports: Iterable[int], holder: str | None = None, *, refused: bool = False
    ) -> None:
        """Give numbers back.

        Args:
            ports: The numbers.
            holder: Whose. Numbers that it does not hold are passed over: told twice is told
                once. Without it, each number must have exactly one holder.
            refused: The cluster refused them: give them last for a minute (``REFUSED_FOR``).

        Raises:
            ConfigurationError: Without a holder: a number that nobody holds, or several do;
                then none is released.
        """
        if holder is not None:
            check_text("PortPool.release.holder", holder)
        given = _numbers("release", ports)
        with self._lock:
            named = {
                number: holder if holder is not None else self._only_holder(number)
                for number in given
            }
            for number, name in named.items():
                if name in self._holders.get(number, ()):
                    self._remove(number, name)
                if refused and number in self._holders:
                    self._refused[number] = self._clock()

    def _only_holder(self, number: int) -> str:
        held = tuple(self._holders.get(number, ()))
        if len(held) != 1:
            raise ConfigurationError(
                "PortPool.release.ports",
                number,
                f"is held by {', '.join(held) or 'nobody'}: "
                "only a number with one holder can be released without naming it",
            )
        return held[0]

    def _choose(
        self,
        count: int,
        holder: str,
        pick: Callable[[int, Callable[[int], bool]], Sequence[int] | None],
        *,
        shared: bool,
    ) -> Sequence[int] | None:
        if not shared:
            return pick(count, lambda number: not self._holders[number])
        own = self._held.get(holder, set())
        place = self._place.get(holder)
        # A place known to have room for all of them, those that the holder has included; else
        # one that the pool knows nothing of yet; and only then numbers that were refused.
        known = [self._at[place]] if place is not None else self._at.values()
        rooms = [used.keys() | own for used in known if place is not None or own.isdisjoint(used)]
        for usable in (lambda number: not self._is_refused(number), lambda _: True):
            picked = (pick(count, _none_of(taken, usable)) for taken in rooms)
            if fitting := [found for found in picked if found]:
                return min(fitting, key=self._rank)
            if place is None and (found := pick(count, _none_of(own, usable))):
                return found
        return None

    def _is_refused(self, number: int) -> bool:
        return self._delay(number, self._clock()) == _REFUSED

    def _best(self, count: int, allowed: Callable[[int], bool]) -> Sequence[int] | None:
        found = list(itertools.islice(filter(allowed, self._in_order()), count))
        return found if len(found) == count else None

    def _in_order(self) -> Iterator[int]:
        """Yield every number, the best to give first."""
        now = self._clock()
        later: tuple[list[int], list[int]] = ([], [])
        for use in sorted(self._by_use):
            for number in self._by_use[use]:
                delay = self._delay(number, now)
                if delay == 0:
                    yield number
                else:
                    later[delay - 1].append(number)
        yield from later[0]
        yield from later[1]

    def _delay(self, number: int, now: float) -> int:
        """Return 0 for a number to give now, 1 for one that rests, 2 for one refused."""
        if now - self._refused.get(number, float("-inf")) < REFUSED_FOR:
            return _REFUSED
        return int(now - self._released.get(number, float("-inf")) < self._reuse_after)

    def _run(self, count: int, allowed: Callable[[int], bool]) -> Sequence[int] | None:
        """Return the run that is the first to have all its numbers, if the best come first."""
        length: dict[int, int] = {}  # of the run so far; kept only right at its two ends
        for number in filter(allowed, self._in_order()):
            below, above = length.get(number - 1, 0), length.get(number + 1, 0)
            whole = below + 1 + above
            length[number] = length[number - below] = length[number + above] = whole
            if whole >= count:
                return range(number - below, number - below + count)
        return None

    def _rank(self, numbers: Sequence[int]) -> tuple[int, int, float]:
        """Return how good numbers are together, the lowest the best."""
        now = self._clock()
        return (
            max(self._delay(number, now) for number in numbers),
            sum(len(self._holders[number]) for number in numbers),
            max(self._released.get(number, float("-inf")) for number in numbers),
        )

    def _add(self, number: int, holder: str) -> None:
        self._shift(number, +1)
        self._holders[number][holder] = None
        self._held.setdefault(holder, set()).add(number)
        place = self._place.get(holder)
        if place is not None:
            self._at.setdefault(place, Counter())[number] += 1

    def _remove(self, number: int, holder: str) -> None:
        self._shift(number, -1)
        del self._holders[number][holder]
        self._released[number] = self._clock()
        place = self._place.get(holder)
        if place is not None:
            self._leave(place, number)
        held = self._held[holder]
        held.discard(number)
        if not held:
            del self._held[holder]
            self._place.pop(holder, None)

    def _move(self, holder: str, numbers: set[int], where: str) -> None:
        before = self._place.get(holder)
        for number in numbers:
            if before is not None:
                self._leave(before, number)
            self._at.setdefault(where, Counter())[number] += 1
        self._place[holder] = where

    def _leave(self, place: str, number: int) -> None:
        used = self._at[place]
        used[number] -= 1
        if not used[number]:
            del used[number]
        if not used:
            del self._at[place]

    def _shift(self, number: int, by: int) -> None:
        use = len(self._holders[number])
        del self._by_use[use][number]
        if use and not self._by_use[use]:
            del self._by_use[use]
        self._by_use.setdefault(use + by, OrderedDict())[number] = None

    def _in_use(self) -> dict[int, tuple[str, ...]]:
        return {number: tuple(held) for number, held in self._holders.items() if held}

    def _exhausted(self, asked: int, *, contiguous: bool) -> PortPoolExhausted:
        held_by = self._in_use()
        free = len(self._by_use[0])
        shown = "; ".join(
            f"{number} by {', '.join(held)}"
            for number, held in itertools.islice(held_by.items(), _SHOWN_HOLDERS)
        )
        more = (
            f"; and {len(held_by) - _SHOWN_HOLDERS} more" if len(held_by) > _SHOWN_HOLDERS else ""
        )
        wanted = f"{asked} ports in a row" if contiguous else f"{asked} port(s)"
        return PortPoolExhausted(
            f"{self!r} cannot give {wanted}: {free} of {len(self)} are free "
            f"(held: {shown or 'none'}{more}). Widen the range, or release servers.",
            asked=asked,
            free=free,
            held_by=held_by,
        )


def _is_number(value: object, kind: type | UnionType) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _numbers(method: str, ports: object) -> list[int]:
    """Return the whole numbers of a list."""
    field = f"PortPool.{method}.ports"
    numbers = each(field, ports, "[31000]")
    for number in numbers:
        if not _is_number(number, int):
            raise ConfigurationError(field, number, "must be a whole number")
    return list(numbers)


def _none_of(taken: set[int], usable: Callable[[int], bool]) -> Callable[[int], bool]:
    return lambda number: number not in taken and usable(number)


def _port(field: str, value: int) -> int:
    if not _is_number(value, int) or not 1 <= value <= 65535:
        raise ConfigurationError(field, value, "must be a whole number from 1 to 65535")
    return value
