"""How free servers are replaced that are to go: what to make and what to remove next. Pure.

They are of another template, or on a node that is cordoned.
"""

from __future__ import annotations

from attrs import frozen

from podfleet.model.rollout import Rollout

__all__ = ["Step", "next_step"]


@frozen
class Step:
    """What to do next.

    Args:
        create: New servers.
        remove: Free servers that are to go.
    """

    create: int
    remove: int


def next_step(
    rollout: Rollout,
    *,
    wanted: int,
    new: int,
    new_ready: int,
    old: int,
    old_ready: int,
    failing: bool = False,
) -> Step:
    """Return what to do next; with no old servers left, what is missing.

    Args:
        rollout: The limits.
        wanted: How many free servers there should be.
        new: How many there are that are to stay.
        new_ready: How many of these are ready.
        old: How many free servers there are that are to go.
        old_ready: How many of these are ready.
        failing: Whether servers of the present template fail: nothing is removed for their sake.

    Example:
        >>> rollout = Rollout(surge=2)
        >>> next_step(rollout, wanted=5, new=0, new_ready=0, old=5, old_ready=5)
        Step(create=2, remove=0)
        >>> next_step(rollout, wanted=5, new=2, new_ready=2, old=5, old_ready=5)
        Step(create=0, remove=2)
    """
    room = wanted + rollout.surge_of(wanted) - new - old
    spare = new_ready + old_ready - (wanted - rollout.unavailable_of(wanted))
    create = min(wanted - new, room) if old else wanted - new
    # What is not ready serves nobody who asks for the present template, and never will.
    remove = old - old_ready + min(old_ready, max(0, spare))
    return Step(max(0, create), 0 if failing else remove)
