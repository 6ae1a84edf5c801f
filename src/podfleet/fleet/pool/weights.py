"""`Weights`: which of several fleets is asked first. Pure."""

from __future__ import annotations

import hashlib
import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Self

from attrs import field, frozen

from podfleet.chance import CHANCE
from podfleet.errors import ConfigurationError
from podfleet.model.plain import each

__all__ = ["Weights"]


@frozen
class Weights:
    """How much of what is asked goes first to each fleet.

    Args:
        shares: Numbers, 0 or more, of which one at least is above 0.
        chance: Where randomness comes from.

    Example:
        >>> weights = Weights.of([0, 1, 0], 3)
        >>> weights.order("arena", "match-42")
        [1, 0, 2]
    """

    shares: tuple[float, ...]
    chance: random.Random = field(default=CHANCE, repr=False, eq=False)

    @classmethod
    def of(cls, asked: Sequence[float] | None, count: int) -> Self:
        """Return the weights of so many fleets; by default all goes first to the first.

        Raises:
            ConfigurationError: There are not as many, or one cannot be.
        """
        if asked is None:
            return cls((1.0, *(0.0 for _ in range(count - 1))))
        given = each("FleetGroup.weights", asked, "[95, 5]")
        if len(given) != count:
            raise ConfigurationError("FleetGroup.weights", asked, f"must be {count}, one a fleet")
        for share in given:
            is_number = isinstance(share, int | float) and not isinstance(share, bool)
            if not is_number or not 0 <= _share(share) < math.inf:
                raise ConfigurationError("FleetGroup.weights", share, "must be a number, 0 or more")
        if not 0 < sum(map(_share, given)) < math.inf:
            raise ConfigurationError(
                "FleetGroup.weights", asked, "one at least must be above 0, and their sum finite"
            )
        return cls(tuple(map(_share, given)))

    def order(self, group: str, session: str | None) -> list[int]:
        """Return the fleets' positions, in the order in which they are asked.

        Args:
            group: The group's name: sessions fall differently in each.
            session: The session, which always falls the same; ``None`` for chance.
        """
        if session is None:
            point = self.chance.random()
        else:
            digest = hashlib.sha256(f"{group}\0{session}".encode()).digest()
            point = int.from_bytes(digest[:6], "big") / 2**48
        bounds = list(accumulate(self.shares))
        first = bisect_right(bounds, point * bounds[-1])
        return [first, *(at for at in range(len(bounds)) if at != first)]


def _share(value: float) -> float:
    """Return a weight as a float: infinite if it is a whole number that no float can hold."""
    try:
        return float(value)
    except OverflowError:
        return math.inf
