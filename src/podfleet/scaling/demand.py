"""`Demand`: as many free servers as are asked for while one starts."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.scaling.bounds import check_max, check_min, within
from podfleet.scaling.load import Load
from podfleet.scaling.poisson import poisson_quantile
from podfleet.scaling.policy import ScalingPolicy

__all__ = ["Demand"]


@frozen(kw_only=True)
class Demand(ScalingPolicy):
    """As many servers are free as are asked for while one starts, by what was measured of late.

    Little's law: while a server starts, ``rate * start_seconds`` callers come on average. They
    come by chance, as independent callers do (Poisson), so more is kept than the average: as
    many that the wanted share of callers finds one ready. Each caller in line gets one besides.

    Without allocations of late there is no free server (unless ``min`` says so): the first
    caller waits for the one that ``allocate`` starts. Until a start has been measured, one is
    kept where there are allocations. A rush that nothing announced is seen when it is there.

    Args:
        covered: The share of callers that is to find a server ready, above 0, below 1.
        min: How many servers there are at least, free and allocated together.
        max: How many at most; by default any number. Allocated servers beyond it stay.

    Raises:
        ConfigurationError: A share or a number that cannot be.

    Example:
        >>> from datetime import UTC, datetime
        >>> now = datetime(2026, 11, 23, 20, 30, tzinfo=UTC)
        >>> Demand().free(Load(now=now, allocated=1200, rate=1.0, start_seconds=30.0))
        44
        >>> Demand().free(Load(now=now))
        0
    """

    covered: float = field(default=0.99)
    min: int = field(default=0, validator=check_min)
    max: int | None = field(default=None, validator=check_max)

    @covered.validator
    def _check_covered(self, _: Attribute[Any], value: float) -> None:
        if not isinstance(value, float) or not 0 < value < 1:
            raise ConfigurationError("Demand.covered", value, "must be above 0 and below 1: 0.99")

    def free(self, load: Load) -> int:
        """Return what the demand asks for, in the bounds."""
        # A caller finds a server ready if fewer are being replaced than are kept: hence the 1.
        # How many are being replaced is Poisson, whatever a start's distribution (Palm).
        mean = load.rate * load.start_seconds
        kept = 1 + poisson_quantile(mean, self.covered) if load.rate else 0
        return within(self, load, kept + load.waiting)
