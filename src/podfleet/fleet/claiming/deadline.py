"""`Deadline`: when an allocation's time is up, and how much its caller gave it."""

from __future__ import annotations

import asyncio
from typing import Self

from attrs import field, frozen

from podfleet.kube import Progress

__all__ = ["Deadline"]

_GRACE = (
    0.4  # seconds after the end for what is still to be done: an error comes within half of one
)


@frozen
class Deadline:
    """When the time is up.

    Args:
        timeout: Seconds that the caller gave, for everything together: what errors tell.
        at: When they are over, on the event loop's clock.
        progress: What the call waits for of the API server.
    """

    timeout: float
    at: float
    progress: Progress = field(factory=Progress, repr=False, eq=False)

    @classmethod
    def after(cls, timeout: float) -> Self:
        """Return the one that is so many seconds from now."""
        return cls(timeout, asyncio.get_running_loop().time() + timeout)

    @property
    def left(self) -> float:
        """Seconds that are left, 0 when none are."""
        return max(0.0, self.at - asyncio.get_running_loop().time())

    @property
    def grace(self) -> float:
        """Seconds that a clean-up may be waited for: the rest of the time, and a moment."""
        return max(0.0, self.at + _GRACE - asyncio.get_running_loop().time())

    def said(self, who: str) -> str:
        """Return how an error begins that says that the time was up.

        Args:
            who: Who has no server: ``fleet arena``.
        """
        return f"{who}: no server within {self.timeout:.3g} s"
