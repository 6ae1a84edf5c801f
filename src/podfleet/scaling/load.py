"""`Load`: what a scaling policy is asked with."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.model.workload import check_replicas

__all__ = ["Load"]


def _check_count(_: object, attribute: Attribute[Any], value: int) -> None:
    check_replicas(f"Load.{attribute.name}", value)


def _check_measured(_: object, attribute: Attribute[Any], value: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise ConfigurationError(f"Load.{attribute.name}", value, "must be a number, 0 or more")


@frozen(kw_only=True)
class Load:
    """What a fleet has, and what is asked of it, at one moment.

    Args:
        now: The time, with its time zone.
        allocated: How many servers are allocated or reserved.
        ready: How many are free and ready.
        starting: How many are free and not ready yet; one that a caller in line started for
            itself is not free.
        rate: Allocations a second, of late, those included that wait; 0.0 if there were none.
        start_seconds: Seconds from a server's creation until it is ready, the mean of late; 0.0
            if none has been measured yet.
        waiting: How many callers are in line for a free server, and started none themselves.

    Raises:
        ConfigurationError: A time without a zone, or a number that cannot be.

    Example:
        >>> from datetime import UTC, datetime
        >>> load = Load(now=datetime(2026, 11, 23, 20, 30, tzinfo=UTC), allocated=80, ready=5)
        >>> load.free, load.total
        (5, 85)
    """

    now: datetime = field()
    allocated: int = field(default=0, validator=_check_count)
    ready: int = field(default=0, validator=_check_count)
    starting: int = field(default=0, validator=_check_count)
    rate: float = field(default=0.0, validator=_check_measured)
    start_seconds: float = field(default=0.0, validator=_check_measured)
    waiting: int = field(default=0, validator=_check_count)

    @now.validator
    def _check_now(self, _: Attribute[Any], value: datetime) -> None:
        if not isinstance(value, datetime) or value.utcoffset() is None:
            raise ConfigurationError(
                "Load.now", value, "must be a time with its zone: datetime.now(UTC)"
            )

    @property
    def free(self) -> int:
        """How many servers are free, ready or not."""
        return self.ready + self.starting

    @property
    def total(self) -> int:
        """How many servers there are."""
        return self.allocated + self.free
