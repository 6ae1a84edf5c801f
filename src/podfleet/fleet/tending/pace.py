"""`Pace`: how many servers may be created now, after what became of the others. Pure."""

from __future__ import annotations

from podfleet.kube.retry import pause

__all__ = ["Pace"]

_UNPLACED = 8
"""Pods without a node, beyond which no more are created: enough for an autoscaler to see that nodes
are wanted, and no more than the scheduler tries again and again for nothing."""

_PAUSE = (2.0, 300.0)  # seconds until one more is tried of a template that fails, doubled


class Pace:
    """Slows down while servers fail one after the other, or find no node."""

    def __init__(self) -> None:
        self._failures = 0
        self._resume = float("-inf")

    @property
    def failures(self) -> int:
        """How many tries failed since the last server that became ready."""
        return self._failures

    def failed(self, now: float) -> bool:
        """Take note that a server will never be ready; return whether it counts.

        Those that fail while it waits were made before, and count as one: the free servers of a
        node that is lost fail all at once, and are to be replaced soon.
        """
        if now < self._resume:
            return False
        self._failures += 1
        self._resume = now + pause(self._failures, _PAUSE)
        return True

    def succeeded(self) -> None:
        """Take note that a server became ready."""
        self._failures = 0
        self._resume = float("-inf")

    def allowed(self, now: float, *, missing: int, starting: int, unplaced: int) -> int:
        """Return how many to create.

        Args:
            now: Seconds on a clock that never goes back.
            missing: How many are to be created.
            starting: How many are on their way.
            unplaced: How many of these have no node.

        Example:
            >>> pace = Pace()
            >>> pace.allowed(0.0, missing=20, starting=5, unplaced=5)
            3
            >>> pace.failed(0.0)
            True
            >>> pace.allowed(0.5, missing=20, starting=0, unplaced=0)
            0
            >>> pace.allowed(2.0, missing=20, starting=0, unplaced=0)
            1
        """
        if self._failures:
            return 1 if now >= self._resume and not starting and missing > 0 else 0
        if not unplaced:
            return max(0, missing)
        return max(0, min(missing, _UNPLACED - unplaced))
