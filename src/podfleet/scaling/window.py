"""`Window`: a part of the day, on some days of the week."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.scaling.convert import Policy, as_policy
from podfleet.scaling.policy import ScalingPolicy

__all__ = ["Window"]

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_MIDNIGHT: Final = "24:00"  # as an end
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")  # as datetime.weekday() counts
_SPAN = re.compile("({0})(?:-({0}))?".format("|".join(_DAYS)))


def _policy(value: Policy) -> ScalingPolicy:
    return as_policy("Window.policy", value)


@frozen(kw_only=True)
class Window:
    """A part of the day, and what counts in it: for a `Schedule`.

    Args:
        start: When it starts, on the wall clock: ``"18:00"``.
        end: When it is over. Before ``start``, it is on the next day: the window passes
            midnight, and belongs to the day on which it starts. A whole day is ``"00:00"`` to
            ``"24:00"``.
        days: The days on which it starts: ``"Mon-Fri"``, ``"Sat,Sun"``, ``"Fri-Sun,Wed"``; by
            default every day.
        policy: What counts in it: a number of free servers, a policy, or a function of a `Load`.

    Raises:
        ConfigurationError: A time or a day that cannot be, or what is no policy.

    Example:
        >>> night = Window(start="22:00", end="02:00", days="Fri,Sat", policy=20)
        >>> night.holds(datetime(2026, 11, 22, 1, 59))  # a Sunday: it started on Saturday
        True
        >>> night.holds(datetime(2026, 11, 22, 22, 0))
        False
    """

    start: str = field()
    end: str = field()
    days: str | None = field(default=None)
    policy: ScalingPolicy = field(converter=_policy)

    @start.validator
    def _check_start(self, _: Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            raise ConfigurationError("Window.start", value, "must be '00:00' to '23:59'")

    @end.validator
    def _check_end(self, _: Attribute[Any], value: object) -> None:
        is_time = isinstance(value, str) and (value == _MIDNIGHT or _TIME.fullmatch(value))
        if not is_time:
            raise ConfigurationError("Window.end", value, "must be '00:00' to '24:00'")
        if value == self.start:
            raise ConfigurationError(
                "Window.end", value, "is its start: a whole day is '00:00' to '24:00'"
            )

    @days.validator
    def _check_days(self, _: Attribute[Any], value: object) -> None:
        is_known = isinstance(value, str) and all(map(_SPAN.fullmatch, value.split(",")))
        if value is not None and not is_known:
            raise ConfigurationError(
                "Window.days", value, f"must be of {', '.join(_DAYS)}: 'Mon-Fri', 'Sat,Sun'"
            )

    def holds(self, wall: datetime) -> bool:
        """Return whether the window holds at a time.

        Args:
            wall: The time that the wall clock shows; its zone is not looked at.
        """
        start, end, now = _minutes(self.start), _minutes(self.end), wall.hour * 60 + wall.minute
        today = self._starts_on(wall.weekday())
        if start < end:
            return today and start <= now < end
        return (today and start <= now) or (self._starts_on((wall.weekday() - 1) % 7) and now < end)

    def _starts_on(self, weekday: int) -> bool:
        if self.days is None:
            return True
        for first, last in _SPAN.findall(self.days):
            begin, length = _DAYS.index(first), _DAYS.index(last or first) - _DAYS.index(first)
            if (weekday - begin) % 7 <= length % 7:
                return True
        return False


def _minutes(time: str) -> int:
    hours, _, minutes = time.partition(":")
    return int(hours) * 60 + int(minutes)
