"""`Schedule`: another policy at other times of the day and the week."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.model.plain import each
from podfleet.scaling.convert import Policy, as_policy
from podfleet.scaling.load import Load
from podfleet.scaling.policy import ScalingPolicy
from podfleet.scaling.window import Window

__all__ = ["Schedule"]


def _windows(value: Iterable[Window]) -> tuple[Window, ...]:
    return each("Schedule.windows", value, "[Window(...)]")


def _otherwise(value: Policy | None) -> ScalingPolicy | None:
    return None if value is None else as_policy("Schedule.otherwise", value)


@frozen
class Schedule(ScalingPolicy):
    """Another policy at other times, by the wall clock of a time zone.

    The first window that holds counts. The wall clock is followed through its changes: of an
    hour that is skipped nothing holds, and what holds in an hour that comes twice holds twice.

    Args:
        windows: The windows, the most important first.
        zone: The time zone whose wall clock it is: ``"Europe/Berlin"``, ``"UTC"``.
        otherwise: What counts when no window holds: a number, a policy or a function; by
            default nothing is said then.

    Raises:
        ConfigurationError: A zone that is not known here, or what is no window or policy.

    Example:
        >>> from datetime import UTC, datetime
        >>> evenings = Schedule(
        ...     [Window(start="18:00", end="23:00", policy=40)], zone="Europe/Berlin", otherwise=5
        ... )
        >>> evenings.free(Load(now=datetime(2026, 7, 1, 16, 30, tzinfo=UTC)))  # 18:30 there
        40
        >>> evenings.free(Load(now=datetime(2026, 12, 1, 16, 30, tzinfo=UTC)))  # 17:30 there
        5
    """

    windows: tuple[Window, ...] = field(converter=_windows)
    zone: str = field(kw_only=True)
    otherwise: ScalingPolicy | None = field(default=None, kw_only=True, converter=_otherwise)

    @windows.validator
    def _check_windows(self, _: Attribute[Any], value: tuple[object, ...]) -> None:
        for number, window in enumerate(value):
            if not isinstance(window, Window):
                raise ConfigurationError(f"Schedule.windows[{number}]", window, "must be a Window")

    @zone.validator
    def _check_zone(self, _: Attribute[Any], value: object) -> None:
        try:
            if isinstance(value, str):
                zoneinfo.ZoneInfo(value)
                return
        except (KeyError, ValueError, OSError):  # of a folder of zones: "Europe"
            if not zoneinfo.available_timezones():
                raise ConfigurationError(
                    "Schedule.zone", value, "no time zone is known here: install tzdata"
                ) from None
        raise ConfigurationError(
            "Schedule.zone", value, "must be the name of a time zone: 'Europe/Berlin', 'UTC'"
        )

    def free(self, load: Load) -> int | None:
        """Return what the first window that holds says, or else what counts otherwise."""
        wall = load.now.astimezone(zoneinfo.ZoneInfo(self.zone))
        for window in self.windows:
            if window.holds(wall):
                return window.policy.free(load)
        return None if self.otherwise is None else self.otherwise.free(load)
