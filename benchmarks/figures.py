"""What the benchmarks tell of many measurements."""

import math
import os
from pathlib import Path

__all__ = ["quantile", "resident"]


def quantile(values: list[float], share: float) -> float:
    """Return the value below which that share is."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def resident() -> float:
    """Return how many bytes of memory this process takes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
