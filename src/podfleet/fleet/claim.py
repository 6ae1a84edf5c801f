"""A claim: the one write that makes a server somebody's. Pure.

Every change of a Pod's claim state tests the Pod's turn and counts it up. So each is made by one
writer, and one that arrives late, when others have written, is refused: a turn never comes back.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Self

from attrs import field, frozen

from podfleet.kube.paths import pointer
from podfleet.model import Manifest, names
from podfleet.model.manifest import annotations_of, labels_of, name_of, uid_of
from podfleet.model.server import ClaimState, claim_state

__all__ = [
    "Candidate",
    "Claim",
    "Standing",
    "is_claimable",
    "standing",
    "transition",
    "turn_of",
]


@frozen
class Candidate:
    """A server at one turn: what exactly one claim can have.

    Args:
        name: The Pod's name.
        uid: The Pod's UID.
        turn: Its turn.
    """

    name: str
    uid: str
    turn: int

    @classmethod
    def of(cls, pod: Manifest) -> Self:
        """Return the Pod at its present turn."""
        return cls(name_of(pod), uid_of(pod), turn_of(pod))


class Standing(Enum):
    """What has become of a candidate that was registered for a session."""

    SERVES = "serves"
    """It is the session's."""

    OPEN = "open"
    """It can be claimed for the session still."""

    OVER = "over"
    """It never will be the session's, whatever claim is still on its way."""


def turn_of(pod: Manifest) -> int:
    """Return how often the Pod's claim state has changed."""
    value = annotations_of(pod).get(names.TURN, "0")
    return int(value) if value.isdecimal() else 0


def is_claimable(pod: Manifest) -> bool:
    """Return whether nobody has claimed the Pod and it is not going away."""
    return claim_state(pod) is ClaimState.UNCLAIMED and not pod["metadata"].get("deletionTimestamp")


def standing(pod: Manifest | None, candidate: Candidate, session: str) -> Standing:
    """Return what has become of a candidate.

    ``OVER`` is for ever: a Pod that is gone, ending or ended does not come back under its UID,
    nor does a turn.

    Args:
        pod: The Pod of the candidate's name, read after the candidate was registered.
        candidate: What was registered.
        session: The session that it was registered for.
    """
    if pod is None or uid_of(pod) != candidate.uid or _is_over(pod):
        return Standing.OVER
    if annotations_of(pod).get(names.SESSION) == session:
        return Standing.SERVES
    if turn_of(pod) == candidate.turn and claim_state(pod) is ClaimState.UNCLAIMED:
        return Standing.OPEN
    return Standing.OVER


def transition(
    pod: Manifest,
    state: ClaimState,
    *,
    labels: Mapping[str, str | None] | None = None,
    annotations: Mapping[str, str | None] | None = None,
) -> list[dict[str, Any]]:
    """Return the JSON patch that takes this very Pod from this very turn to the next.

    The ``test`` operations make it atomic: if the Pod was replaced or has had another turn, the
    API server refuses the whole patch (422) and nothing is written. It does not conflict with
    the kubelet's writes of the status, as a resourceVersion would.

    Args:
        pod: The Pod, as it was seen.
        state: Its next claim state.
        labels: Labels to write; ``None`` for one to remove.
        annotations: Annotations, likewise.
    """
    before = claim_state(pod)
    return [
        _test(("metadata", "uid"), uid_of(pod)),
        _test(("metadata", "labels", names.STATE), before.value if before else None),
        *_room_for_annotations(pod),
        _test(("metadata", "annotations", names.TURN), annotations_of(pod).get(names.TURN)),
        *_changes("labels", labels_of(pod), {**(labels or {}), names.STATE: state.value}),
        *_changes(
            "annotations",
            annotations_of(pod),
            {**(annotations or {}), names.TURN: str(turn_of(pod) + 1)},
        ),
    ]


@frozen(kw_only=True)
class Claim:
    """What a claim writes on a Pod.

    Args:
        session: The session it is for, or ``None``.
        labels: The caller's labels.
        annotations: The caller's annotations.
        id: Tells this claim from every other: a lost reply from a lost race.
    """

    session: str | None = None
    labels: Mapping[str, str] = field(factory=dict)
    annotations: Mapping[str, str] = field(factory=dict)
    id: str = field(factory=lambda: uuid.uuid4().hex)

    def patch(self, pod: Manifest, now: datetime) -> list[dict[str, Any]]:
        """Return the JSON patch that claims this Pod if nobody has: see `transition`."""
        labels = dict(self.labels)
        notes = {
            names.CLAIM: self.id,
            names.ALLOCATED_AT: now.astimezone(UTC).isoformat(timespec="milliseconds"),
            **self.annotations,
        }
        if self.session is not None:
            labels[names.SESSION] = names.session_label(self.session)
            notes[names.SESSION] = self.session
        return transition(pod, ClaimState.ALLOCATED, labels=labels, annotations=notes)

    def holds(self, pod: Manifest) -> bool:
        """Return whether this very claim holds the Pod."""
        return annotations_of(pod).get(names.CLAIM) == self.id


def _is_over(pod: Manifest) -> bool:
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return bool(ended or pod["metadata"].get("deletionTimestamp"))


def _room_for_annotations(pod: Manifest) -> list[dict[str, Any]]:
    """Return what comes before the first annotation of a Pod that has none.

    ``add`` needs a place, which the Pods of a StatefulSet may lack; the ``test`` is against
    losing one that was written since.
    """
    if "annotations" in pod["metadata"]:
        return []
    place = ("metadata", "annotations")
    return [_test(place, None), {"op": "add", "path": pointer(*place), "value": {}}]


def _test(place: tuple[str, ...], value: str | None) -> dict[str, Any]:
    return {"op": "test", "path": pointer(*place), "value": value}


def _changes(
    kind: str, before: Mapping[str, str], values: Mapping[str, str | None]
) -> list[dict[str, Any]]:
    return [
        {"op": "add", "path": pointer("metadata", kind, key), "value": value}
        if value is not None
        else {"op": "remove", "path": pointer("metadata", kind, key)}
        for key, value in values.items()
        if value is not None or key in before
    ]
