"""`Rollout`: how a changed template reaches the servers; `RolloutStatus`: how far it is."""

from __future__ import annotations

import re
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.model.workload import check_replicas

__all__ = ["Rollout", "RolloutStatus"]

_SHARE = re.compile(r"[0-9]{1,3}%")


def _check_share(_: object, attribute: Attribute[Any], value: int | str) -> None:
    name = f"Rollout.{attribute.name}"
    if not isinstance(value, str):
        check_replicas(name, value)
    elif not _SHARE.fullmatch(value):
        raise ConfigurationError(name, value, "must be '0%' to '999%', or a number of servers")


@frozen(kw_only=True)
class Rollout:
    """How free servers of a former template are replaced by those of the present one.

    Allocated servers are never replaced: they go when they are released.

    Args:
        surge: How many free servers there may be beyond those that are wanted: a number, or a share
            of these, rounded up.
        unavailable: How many of those that are wanted may be missing: likewise, rounded down; but
            one where both come to nothing, as for a Deployment.

    Raises:
        ConfigurationError: A number or a share that cannot be, or both are 0.

    Example:
        >>> Rollout(surge="25%").surge_of(10), Rollout(unavailable="25%").unavailable_of(10)
        (3, 2)
    """

    surge: int | str = field(default="25%", validator=_check_share)
    unavailable: int | str = field(default=0, validator=_check_share)

    def __attrs_post_init__(self) -> None:
        if not any(_percent(str(value)) for value in (self.surge, self.unavailable)):
            raise ConfigurationError(
                "Rollout", self, "nothing could be replaced: surge or unavailable must be above 0"
            )

    def surge_of(self, wanted: int) -> int:
        """Return how many servers more there may be, of so many that are wanted."""
        if isinstance(self.surge, int):
            return self.surge
        return -(-wanted * _percent(self.surge) // 100)

    def unavailable_of(self, wanted: int) -> int:
        """Return how many may be missing, of so many that are wanted."""
        if isinstance(self.unavailable, int):
            missing = self.unavailable
        else:
            missing = wanted * _percent(self.unavailable) // 100
        # pkg/controller/deployment/util/deployment_util.go, ResolveFenceposts
        return missing or (0 if self.surge_of(wanted) else 1)


@frozen(kw_only=True)
class RolloutStatus:
    """How far a fleet's servers are with the present template, as this replica knows.

    Attributes:
        revision: Of this replica's template.
        is_present: Whether that is the fleet's: else a newer one is, and this replica tends no
            longer.
        paused: Whether `Fleet.pause_rollout` holds it.
        failing: Whether servers of this template fail: nothing is replaced until one is ready.
        updated: Free servers of this template.
        updated_ready: How many of them are ready.
        outdated: Free servers of other templates: they are to go.
        outdated_allocated: Allocated servers of other templates: they stay until they are released.
    """

    revision: str
    is_present: bool
    paused: bool
    failing: bool
    updated: int
    updated_ready: int
    outdated: int
    outdated_allocated: int

    @property
    def complete(self) -> bool:
        """Whether no free server of another template is left."""
        return self.is_present and not self.outdated


def _percent(share: str) -> int:
    return int(share.removesuffix("%"))
