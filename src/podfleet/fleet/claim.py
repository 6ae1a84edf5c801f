"""A claim: the one write that makes a server somebody's. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import field, frozen

from podfleet.kube.paths import pointer
from podfleet.model import Manifest, names
from podfleet.model.manifest import annotations_of, uid_of
from podfleet.model.server import ClaimState, claim_state

__all__ = ["Claim", "is_claimable", "room_for_annotations"]


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
        """Return the JSON patch that claims this Pod if nobody has.

        The ``test`` operations make it atomic: if the Pod was replaced or is claimed by now,
        the API server refuses the whole patch (422) and nothing is written. It does not
        conflict with the kubelet's writes of the status, as a resourceVersion would.
        """
        labels = {names.STATE: ClaimState.ALLOCATED.value, **self.labels}
        notes = {
            names.CLAIM: self.id,
            names.ALLOCATED_AT: now.astimezone(UTC).isoformat(timespec="milliseconds"),
            **self.annotations,
        }
        if self.session is not None:
            labels[names.SESSION] = names.session_label(self.session)
            notes[names.SESSION] = self.session
        return [
            {"op": "test", "path": "/metadata/uid", "value": uid_of(pod)},
            {
                "op": "test",
                "path": pointer("metadata", "labels", names.STATE),
                "value": ClaimState.UNCLAIMED.value,
            },
            *_adds("labels", labels),
            *room_for_annotations(pod),
            *_adds("annotations", notes),
        ]

    def holds(self, pod: Manifest) -> bool:
        """Return whether this very claim holds the Pod."""
        return annotations_of(pod).get(names.CLAIM) == self.id


def room_for_annotations(pod: Manifest) -> list[dict[str, Any]]:
    """Return what comes before the first annotation of a Pod that has none.

    ``add`` needs a place, which the Pods of a StatefulSet may lack; the ``test`` is against
    losing one that was written since.
    """
    if "annotations" in pod["metadata"]:
        return []
    path = pointer("metadata", "annotations")
    return [{"op": "test", "path": path, "value": None}, {"op": "add", "path": path, "value": {}}]


def is_claimable(pod: Manifest) -> bool:
    """Return whether nobody has claimed the Pod and it is not going away."""
    return claim_state(pod) is ClaimState.UNCLAIMED and not pod["metadata"].get("deletionTimestamp")


def _adds(kind: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"op": "add", "path": pointer("metadata", kind, key), "value": value}
        for key, value in values.items()
    ]
