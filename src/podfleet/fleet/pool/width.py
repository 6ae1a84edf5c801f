"""`Width`: among how many of the best servers chance decides. Pure.

So that replicas do not all fight over one: it grows with every lost race, and shrinks again with
every one that was won.
"""

from __future__ import annotations

import math

__all__ = ["Width"]

_WIDEST = 1024
_SHRINK = 0.99
"""By every race that was won: then one in seventy is lost, however many replicas there are."""


class Width:
    """How many servers count as the best."""

    def __init__(self) -> None:
        self._width = 1.0

    @property
    def servers(self) -> int:
        """How many."""
        return math.ceil(self._width)

    def lost(self) -> None:
        """Take note that another replica was faster."""
        self._width = min(_WIDEST, self._width * 2)

    def won(self) -> None:
        """Take note that a claim went through."""
        self._width = max(1.0, self._width * _SHRINK)
