"""Why a server that was chosen could not be had: what errors say of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from podfleet.fleet.claiming.claim import Candidate, Claim, Standing, standing
from podfleet.model import Manifest
from podfleet.model.manifest import uid_of

__all__ = ["Loss", "told", "why_lost"]


class Loss(Enum):
    """Why a server could not be had; the value is what an error says of so many."""

    CLAIMED = "claimed by other callers first"
    GONE = "gone, or deleted meanwhile"
    ENDED = "ended before they could be claimed"
    UNREADY = "not ready any more when they were claimed"
    UNCHANGED = "refused to this caller though nothing about them had changed"


def why_lost(chosen: Manifest, shown: Manifest | None, claim: Claim) -> Loss:
    """Return why a server was lost.

    Args:
        chosen: The server, as it was chosen.
        shown: The same, as it was seen last; ``None`` if it is gone.
        claim: What was to be written on it.
    """
    if shown is None or uid_of(shown) != uid_of(chosen):
        return Loss.GONE
    if claim.holds(shown):
        return Loss.UNREADY  # it was claimed, and then discarded for that
    if shown["metadata"].get("deletionTimestamp"):
        return Loss.GONE
    if Candidate.of(shown) != Candidate.of(chosen):
        return Loss.CLAIMED
    over = standing(shown, Candidate.of(shown), claim.key) is Standing.OVER
    return Loss.ENDED if over else Loss.UNCHANGED


def told(losses: Mapping[Loss, int]) -> str:
    """Return how many servers were lost, and why.

    Example:
        >>> told({Loss.CLAIMED: 5})
        '5 servers could not be had: 5 claimed by other callers first'
    """
    each = ", ".join(f"{losses[loss]} {loss.value}" for loss in Loss if losses.get(loss))
    return f"{sum(losses.values())} servers could not be had: {each}"
