"""Which Pods of a StatefulSet to take, to wait for, and to give up. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from podfleet.fleet.claiming.claim import is_claimable
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of
from podfleet.model.names import REVISION
from podfleet.model.server import ClaimState, claim_state
from podfleet.waiters.diagnosis import is_ready

__all__ = ["by_ordinal", "is_outdated", "lowest_free", "missing", "reachable"]


def by_ordinal(pods: Iterable[Manifest], set_name: str) -> dict[int, Manifest]:
    """Return the StatefulSet's Pods by their numbers, lowest first.

    Example:
        >>> pods = [{"metadata": {"name": name}} for name in ("arena-10", "arena-2", "arena-x")]
        >>> list(by_ordinal(pods, "arena"))
        [2, 10]
    """
    found = {}
    for pod in pods:
        prefix, _, ordinal = name_of(pod).rpartition("-")
        if prefix == set_name and ordinal.isdecimal():
            found[int(ordinal)] = pod
    return dict(sorted(found.items()))


def is_outdated(pod: Manifest, revision: str | None) -> bool:
    """Return whether a Pod is of another template; one without a revision was adopted."""
    return labels_of(pod).get(REVISION, revision) != revision


def lowest_free(
    pods: Mapping[int, Manifest], revision: str | None, wanted: Collection[str]
) -> Manifest | None:
    """Return the lowest Pod that can be claimed now.

    Args:
        pods: By ordinal, lowest first.
        revision: The StatefulSet's template's.
        wanted: Names of those that another caller here is about to claim.
    """
    for pod in pods.values():
        if (
            is_claimable(pod)
            and is_ready(pod)
            and name_of(pod) not in wanted
            and not is_outdated(pod, revision)
        ):
            return pod
    return None


def missing(pods: Mapping[int, Manifest], replicas: int, waiting: int) -> int:
    """Return how many replicas must be added, so that each caller gets a server.

    Those that are on their way count: an unclaimed one that is not ready yet, one that is
    ending and comes back, one that is not there yet. A server that never becomes ready is
    waited for too: adding others like it would not end.

    Args:
        pods: By ordinal.
        replicas: How many Pods the StatefulSet is to have.
        waiting: How many callers wait for a server.
    """
    taken = sum(
        claim_state(pod) is not ClaimState.UNCLAIMED
        and not pod["metadata"].get("deletionTimestamp")
        for ordinal, pod in pods.items()
        if ordinal < replicas
    )
    return max(0, waiting - (replicas - taken))


def reachable(pods: Mapping[int, Manifest], replicas: int, wanted: int) -> int:
    """Return how far down a StatefulSet can be scaled without taking an allocated server.

    Args:
        pods: By ordinal.
        replicas: How many Pods it has.
        wanted: How many it is to have.

    Example:
        >>> allocated = {"metadata": {"labels": {"podfleet.dev/state": "allocated"}}}
        >>> reachable({1: allocated}, replicas=5, wanted=0)
        2
    """
    kept = [
        ordinal + 1
        for ordinal, pod in pods.items()
        if ordinal < replicas
        and claim_state(pod) is ClaimState.ALLOCATED
        and not pod["metadata"].get("deletionTimestamp")
    ]
    return min(replicas, max([wanted, *kept]))
