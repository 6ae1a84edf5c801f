"""`Deadline`: when an allocation's time is up, and how much its caller gave it."""

from __future__ import annotations

import asyncio
from typing import Self

from attrs import frozen

__all__ = ["Deadline"]


@frozen
class Deadline:
    """When the time is up.

    Args:
        timeout: Seconds that the caller gave, for everything together: what errors tell.
        at: When they are over, on the event loop's clock.
    """

    timeout: float
    at: float

    @classmethod
    def after(cls, timeout: float) -> Self:
        """Return the one that is so many seconds from now."""
        return cls(timeout, asyncio.get_running_loop().time() + timeout)

    @property
    def left(self) -> float:
        """Seconds that are left, 0 when none are."""
        return max(0.0, self.at - asyncio.get_running_loop().time())
