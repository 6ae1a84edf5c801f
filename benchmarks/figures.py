"""What the benchmarks tell of many measurements."""

import math

__all__ = ["quantile"]


def quantile(values: list[float], share: float) -> float:
    """Return the value below which that share is."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
