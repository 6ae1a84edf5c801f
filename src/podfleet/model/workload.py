"""`StatefulSet`: a fleet whose servers have numbered names that come back."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.model.names import MAX_FLEET_NAME, check_dns_label
from podfleet.model.plain import check_flag

__all__ = ["StatefulSet"]

_MOST = 2**31 - 1


@frozen(kw_only=True)
class StatefulSet:
    """A fleet's servers are the Pods of a StatefulSet: ``arena-0``, ``arena-1`` ...

    Its servers run before they are asked for, and a released one comes back fresh under its
    name. Where none is free, ``allocate`` adds one. The lowest free number is allocated first.

    Kubernetes takes Pods from a StatefulSet by the highest number, so `Fleet.scale` gets no
    lower than the highest allocated one: one long match on ``arena-9`` keeps ten servers.

    Args:
        name: Its name; by default the fleet's. It is made if there is none.
        replicas: How many servers it is made with.
        limit: How many servers ``allocate`` may bring it to; by default any number.
        adopt: Take one that exists and is not podfleet's: its Pods become servers of the fleet,
            and its template gets the fleet's labels, but stays as it is otherwise.

    Raises:
        ConfigurationError: A number or a name that cannot be.

    Example:
        >>> StatefulSet(replicas=3, limit=10).limit
        10
    """

    name: str | None = field(default=None)
    replicas: int = field(default=0)
    limit: int | None = field(default=None)
    adopt: bool = field(default=False)

    @adopt.validator
    def _check_adopt(self, _: Attribute[Any], value: object) -> None:
        check_flag("StatefulSet.adopt", value)

    @name.validator
    def _check_name(self, _: Attribute[Any], value: str | None) -> None:
        if value is not None:
            check_dns_label("StatefulSet.name", value, MAX_FLEET_NAME)

    @replicas.validator
    def _check_replicas(self, _: Attribute[Any], value: int) -> None:
        check_replicas("StatefulSet.replicas", value)

    @limit.validator
    def _check_limit(self, _: Attribute[Any], value: int | None) -> None:
        if value is not None and check_replicas("StatefulSet.limit", value) < self.replicas:
            raise ConfigurationError(
                "StatefulSet.limit", value, f"is below the {self.replicas} replicas asked for"
            )


def check_replicas(name: str, value: int) -> int:
    """Return a number of servers if it is one: Kubernetes' have 32 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        most = "" if not isinstance(value, int) or value < 0 else f", at most {_MOST}"
        raise ConfigurationError(name, value, f"must be a whole number, 0 or more{most}")
    return value
