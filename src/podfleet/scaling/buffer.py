"""`Buffer`: so many free servers, or such a share of all."""

from __future__ import annotations

import re
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.model.workload import check_replicas
from podfleet.scaling.bounds import check_max, check_min, within
from podfleet.scaling.load import Load
from podfleet.scaling.policy import ScalingPolicy

__all__ = ["Buffer"]

_SHARE = re.compile(r"[1-9][0-9]?%")


@frozen
class Buffer(ScalingPolicy):
    """So many servers are free, or such a share of all servers.

    A share of nothing is nothing: with ``"20%"`` and no match there is no server, and the first
    caller waits for the one that ``allocate`` starts. ``min=1`` keeps one for it.

    Args:
        ready: How many; or ``"1%"`` to ``"99%"`` of all servers, the allocated ones included,
            rounded up.
        min: How many servers there are at least, free and allocated together.
        max: How many at most; by default any number. Allocated servers beyond it stay.

    Raises:
        ConfigurationError: A number or a share that cannot be.

    Example:
        >>> from datetime import UTC, datetime
        >>> evening = Load(now=datetime(2026, 11, 23, 20, 30, tzinfo=UTC), allocated=80)
        >>> Buffer("20%").free(evening)  # 20 of 100
        20
        >>> Buffer(5, max=82).free(evening)
        2
    """

    ready: int | str = field()
    min: int = field(default=0, kw_only=True, validator=check_min)
    max: int | None = field(default=None, kw_only=True, validator=check_max)

    @ready.validator
    def _check_ready(self, _: Attribute[Any], value: int | str) -> None:
        if not isinstance(value, str):
            check_replicas("Buffer.ready", value)
        elif not _SHARE.fullmatch(value):
            raise ConfigurationError("Buffer.ready", value, "must be '1%' to '99%', or a number")

    def free(self, load: Load) -> int:
        """Return the buffer, in the bounds."""
        if isinstance(self.ready, int):
            return within(self, load, self.ready)
        percent = int(self.ready.removesuffix("%"))
        # free / (allocated + free) = percent / 100, rounded up
        return within(self, load, -(-load.allocated * percent // (100 - percent)))
