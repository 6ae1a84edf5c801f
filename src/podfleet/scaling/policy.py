"""`ScalingPolicy`: how many free servers there should be. The fleet acts; a policy answers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from podfleet.errors import ConfigurationError
from podfleet.scaling.load import Load

__all__ = ["ScalingPolicy", "check_free", "wanted"]


class ScalingPolicy(ABC):
    """How many free servers there should be.

    A policy is pure: it is asked every few seconds, by whichever replica's turn it is, and the
    same load must get the same answer. Write your own by overriding `free`, or pass a function
    of a `Load` wherever a policy is taken.

    Example:
        >>> class TwiceTheLine(ScalingPolicy):
        ...     '''Two servers for each caller in line.'''
        ...
        ...     def free(self, load):
        ...         return 2 * load.waiting
    """

    @abstractmethod
    def free(self, load: Load) -> int | None:
        """Return how many free servers there should be now, ready or starting.

        Allocated servers are not among them, and no policy ends a match.

        Args:
            load: What the fleet has, and what is asked of it.

        Returns:
            A whole number, 0 or more; ``None``: nothing to say now.
        """


def wanted(policy: ScalingPolicy, load: Load) -> int:
    """Return how many free servers there should be; 0 if the policy says nothing.

    Raises:
        ConfigurationError: It returned what is no number of servers.
    """
    return check_free(f"{type(policy).__name__}.free", policy.free(load)) or 0


def check_free(name: str, value: int | None) -> int | None:
    """Return what a policy returned if it may."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and (not is_number or value < 0):
        raise ConfigurationError(
            name, value, "was returned, and must be a whole number, 0 or more, or None"
        )
    return value
