"""What is told of many measurements. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import frozen

__all__ = ["Comparison", "Figures", "quantile"]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share is.

    Example:
        >>> quantile([4, 1, 3, 2], 0.5)
        2
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@frozen
class Figures:
    """What calls took.

    Args:
        seconds: Of each.
        elapsed: Of all together, in seconds: several were in flight at once.

    Example:
        >>> taken = Figures((0.01, 0.02, 0.03), elapsed=0.03)
        >>> taken.p50, taken.p99, taken.rate
        (0.02, 0.03, 100.0)
    """

    seconds: tuple[float, ...]
    elapsed: float

    @property
    def p50(self) -> float:
        """What half of them took at most, in seconds."""
        return quantile(self.seconds, 0.5)

    @property
    def p99(self) -> float:
        """What 99 of a hundred took at most, in seconds."""
        return quantile(self.seconds, 0.99)

    @property
    def rate(self) -> float:
        """How many there were a second."""
        return len(self.seconds) / self.elapsed

    def to_json(self) -> dict[str, float]:
        """Return them by name."""
        return {"p50": self.p50, "p99": self.p99, "rate": self.rate}


@frozen
class Comparison:
    """Allocations, beside as many plain PATCHes of Pods.

    Args:
        patch: The PATCHes.
        allocate: The allocations.
    """

    patch: Figures
    allocate: Figures

    @property
    def ratio(self) -> dict[str, float]:
        """What an allocation is in PATCHes, by the names of the figures."""
        base = self.patch.to_json()
        return {name: value / base[name] for name, value in self.allocate.to_json().items()}
