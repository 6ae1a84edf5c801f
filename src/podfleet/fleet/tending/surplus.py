"""`Surplus`: how many free servers are too many, and have been for long enough. Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["Surplus"]

_LASTS = 60.0
"""Seconds for which a server has to be one too many. In the simulated day (docs/scaling.md) 4,635
servers that were never used were deleted if it was done at once, and one after a minute."""


class Surplus:
    """Remembers what was wanted in the last minute."""

    def __init__(self) -> None:
        self._wanted: deque[tuple[float, int]] = deque()
        self._since = float("inf")

    def of(self, now: float, free: int, wanted: int) -> int:
        """Return how many free servers have been too many for a minute.

        Args:
            now: Seconds on a clock that never goes back.
            free: How many there are.
            wanted: How many there should be now.

        Example:
            >>> surplus = Surplus()
            >>> [surplus.of(now, free=5, wanted=2) for now in (0.0, 30.0, 61.0)]
            [0, 0, 3]
        """
        self._since = min(self._since, now)
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - _LASTS:
            self._wanted.popleft()
        if now - self._since < _LASTS:
            return 0  # what was wanted before is not known
        return max(0, free - max(count for _, count in self._wanted))
