"""May an autoscaler take a server's node? It follows from who has the server. Pure.

A free server is in nobody's way; one that a match runs on holds its node. What the template says
itself about one of these annotations counts more: then neither is touched.
"""

from __future__ import annotations

from collections.abc import Mapping

from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of
from podfleet.model.names import DISRUPTION, DO_NOT_DISRUPT, SAFE_TO_EVICT
from podfleet.model.server import ClaimState

__all__ = ["follow_state", "of_new"]

_FOLLOWS = "follows-state"
_TAKEN = (ClaimState.ALLOCATED, ClaimState.RESERVED)


def of_new(pod: Manifest) -> dict[str, str]:
    """Return the annotations of a new, free server.

    Args:
        pod: The Pod, as its template makes it.

    Example:
        >>> of_new({"metadata": {}})[SAFE_TO_EVICT]
        'true'
        >>> of_new({"metadata": {"annotations": {SAFE_TO_EVICT: "false"}}})
        {}
    """
    if {SAFE_TO_EVICT, DO_NOT_DISRUPT} & annotations_of(pod).keys():
        return {}
    return {DISRUPTION: _FOLLOWS, SAFE_TO_EVICT: "true"}


def follow_state(pod: Manifest, state: ClaimState) -> Mapping[str, str | None]:
    """Return what is to be written on a Pod that comes to a claim state; ``None`` to remove.

    Args:
        pod: The Pod, as it was seen.
        state: Its next claim state.
    """
    if annotations_of(pod).get(DISRUPTION) != _FOLLOWS:
        return {}
    taken = state in _TAKEN
    return {SAFE_TO_EVICT: str(not taken).lower(), DO_NOT_DISRUPT: "true" if taken else None}
