"""A claim: the one write that makes a server somebody's. Pure.

Every change of a Pod's claim state tests the Pod's turn and counts it up. So each is made by one
writer, and one that arrives late, when others have written, is refused: a turn never comes back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Self

from attrs import field, frozen

from podfleet.fleet.claiming.disruption import follow_state
from podfleet.fleet.claiming.replica import claim_id
from podfleet.kube.paths import pointer
from podfleet.model import GameServerTemplate, Manifest, names
from podfleet.model.container import has_ended
from podfleet.model.manifest import annotations_of, labels_of, name_of, parse_time, uid_of
from podfleet.model.recycling import came_back, snapshot
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.slots import free_slots, has_slots, sessions_of, written

__all__ = [
    "UNTRACKED",
    "Candidate",
    "Claim",
    "Standing",
    "free_again",
    "has_room",
    "is_claimable",
    "is_unchanged",
    "recycle",
    "reserved_for",
    "share",
    "standing",
    "transition",
    "turn_of",
    "was_by",
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


_REMEMBERED = 16
"""Changes of a shared server whose ids stay on it: who lost a reply finds its own there."""

UNTRACKED = {"op": "add", "path": "/metadata/managedFields", "value": [{}]}
"""Clears who wrote which field of a Pod, and when. To keep that is a fifth of what a claim takes of
the API server, and two fifths of what every watch of the Pod is sent; and who claimed it says the
claim. Not kept once, it is not kept by later writes either, the kubelet's included.

Kubernetes: "Server-Side Apply", Clearing managedFields; apimachinery, managedfields/internal,
skipnonapplied.go.
"""

_OPEN = (ClaimState.UNCLAIMED, ClaimState.RECYCLING, ClaimState.RESERVED)
"""States from which a claim may take a Pod."""


def turn_of(pod: Manifest) -> int:
    """Return how often the Pod's claim state has changed."""
    value = annotations_of(pod).get(names.TURN, "0")
    return int(value) if value.isdecimal() else 0


def has_room(pod: Manifest, slots: int = 1) -> bool:
    """Return whether a Pod can be claimed, or shared; perhaps it is not ready."""
    if not has_slots(pod):
        return is_claimable(pod)
    is_open = claim_state(pod) in (ClaimState.UNCLAIMED, ClaimState.ALLOCATED)
    going = pod["metadata"].get("deletionTimestamp")
    return is_open and not going and free_slots(pod) >= slots


def is_claimable(pod: Manifest) -> bool:
    """Return whether nobody has the Pod and it is not going away; perhaps it is not ready."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    match claim_state(pod):
        case ClaimState.UNCLAIMED:
            return True
        case ClaimState.RECYCLING:
            return came_back(pod)
        case ClaimState.RESERVED:
            return reserved_for(pod) <= 0
    return False


def reserved_for(pod: Manifest) -> float:
    """Return for how many seconds more a Pod is reserved, by this machine's clock."""
    until = parse_time(annotations_of(pod).get(names.RESERVED_UNTIL))
    return 0.0 if until is None else (until - datetime.now(UTC)).total_seconds()


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
    if session in sessions_of(pod):
        return Standing.SERVES
    is_open = claim_state(pod) in _OPEN or has_slots(pod)
    if turn_of(pod) == candidate.turn and is_open:
        return Standing.OPEN
    return Standing.OVER


def is_unchanged(now: Manifest, seen: Manifest) -> bool:
    """Return whether a Pod's claim is what it was: a write that was refused lost no race then."""
    same = Candidate.of(now) == Candidate.of(seen)
    return same and claim_state(now) is claim_state(seen)


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
        UNTRACKED,
        *_changes("labels", labels_of(pod), {**(labels or {}), names.STATE: state.value}),
        *_changes(
            "annotations",
            annotations_of(pod),
            {
                **follow_state(pod, state),
                **(annotations or {}),
                names.TURN: str(turn_of(pod) + 1),
            },
        ),
    ]


@frozen(kw_only=True)
class Claim:
    """What a claim writes on a Pod.

    Args:
        session: The session it is for, or ``None``.
        labels: The caller's labels.
        annotations: The caller's annotations.
        metadata: What the server is to know of it.
        limit: Seconds after which the kubelet ends the server.
        slots: How many slots of a server that is shared.
        reserve: Seconds for which it is only reserved; ``None`` to allocate it.
        id: Tells this claim from every other, a lost reply from a lost race, and who made it.
    """

    session: str | None = None
    labels: Mapping[str, str] = field(factory=dict)
    annotations: Mapping[str, str] = field(factory=dict)
    metadata: Mapping[str, str] = field(factory=dict)
    limit: float | None = None
    slots: int = 1
    reserve: float | None = None
    id: str = field(factory=claim_id)

    def patch(self, pod: Manifest, now: datetime) -> list[dict[str, Any]]:
        """Return the JSON patch that claims this Pod if nobody has: see `transition`."""
        if has_slots(pod):
            return share(pod, {**sessions_of(pod), self.key: self.slots}, self.id, now)
        if self.reserve is not None:
            until = _written(now + timedelta(seconds=self.reserve))
            held = {names.CLAIM: self.id, names.RESERVED_UNTIL: until, names.RECYCLED: None}
            return transition(pod, ClaimState.RESERVED, annotations=held)
        labels = dict(self.labels)
        notes = {
            names.CLAIM: self.id,
            names.ALLOCATED_AT: _written(now),
            names.RECYCLED: None,
            names.RESERVED_UNTIL: None,
            **self.annotations,
            **{names.METADATA + key: value for key, value in self.metadata.items()},
        }
        if self.labels or self.annotations:
            notes[names.GIVEN] = json.dumps([sorted(self.labels), sorted(self.annotations)])
        if self.session is not None:
            labels[names.SESSION] = names.session_label(self.session)
            notes[names.SESSION] = self.session
        patch = transition(pod, ClaimState.ALLOCATED, labels=labels, annotations=notes)
        return [*patch, *self._limits(pod, now)]

    def holds(self, pod: Manifest) -> bool:
        """Return whether this very claim holds the Pod, or slots of it."""
        if has_slots(pod):
            return was_by(pod, self.id) and self.key in sessions_of(pod)
        return annotations_of(pod).get(names.CLAIM) == self.id

    def has_slots_of(self, pod: Manifest) -> bool:
        """Return whether slots of a shared Pod are this claim's: nobody else has its own name."""
        return self.holds(pod) or (self.session is None and self.key in sessions_of(pod))

    @property
    def key(self) -> str:
        """What it is called among the sessions that share a server: its own name, or a new one."""
        return self.session if self.session is not None else f"~{self.id}"

    def _limits(self, pod: Manifest, now: datetime) -> list[dict[str, Any]]:
        """Return what makes the kubelet end the Pod in time: its limit may only be lowered."""
        if self.limit is None:
            return []
        wanted = max(1, math.ceil(_age(pod, now) + self.limit))
        before = pod["spec"].get("activeDeadlineSeconds")
        if before is not None and before <= wanted:
            return []
        return [{"op": "add", "path": "/spec/activeDeadlineSeconds", "value": wanted}]


def share(
    pod: Manifest, sessions: Mapping[str, int], change: str, now: datetime
) -> list[dict[str, Any]]:
    """Return the JSON patch that gives a shared server's slots to these sessions.

    Args:
        pod: The Pod, as it was seen.
        sessions: Who is to have how many.
        change: Tells this change from every other.
        now: The time.
    """
    latest = annotations_of(pod).get(names.CLAIM, "").split()
    notes = {
        names.SESSIONS: written(sessions),
        names.CLAIM: " ".join([change, *latest][:_REMEMBERED]),
        names.ALLOCATED_AT: _written(now) if sessions else None,
    }
    state = ClaimState.ALLOCATED if sessions else ClaimState.UNCLAIMED
    return transition(pod, state, annotations=notes)


def was_by(pod: Manifest, change: str) -> bool:
    """Return whether this change of a shared server was made, of late."""
    return change in annotations_of(pod).get(names.CLAIM, "").split()


def recycle(pod: Manifest, template: GameServerTemplate) -> list[dict[str, Any]]:
    """Return the JSON patch that ends a server's match, and keeps it for another.

    All that the allocation brought goes; what it covered of the template's comes back.

    Args:
        pod: The Pod, as it was seen.
        template: The fleet's.
    """
    shape = template.to_pod()
    before = (labels_of(shape), annotations_of(shape))
    given = json.loads(annotations_of(pod).get(names.GIVEN, "[[], []]"))
    labels, notes = (
        {key: own.get(key) for key in keys} for keys, own in zip(given, before, strict=True)
    )
    gone = (names.SESSION, names.CLAIM, names.ALLOCATED_AT, names.GIVEN)
    metadata = [key for key in annotations_of(pod) if key.startswith(names.METADATA)]
    return transition(
        pod,
        ClaimState.RECYCLING,
        labels={**labels, names.SESSION: None},
        annotations={
            **notes,
            **dict.fromkeys([*gone, *metadata]),
            names.RECYCLED: snapshot(pod),
        },
    )


def free_again(pod: Manifest) -> list[dict[str, Any]]:
    """Return the JSON patch that ends a reservation."""
    gone = dict.fromkeys((names.CLAIM, names.RESERVED_UNTIL))
    return transition(pod, ClaimState.UNCLAIMED, annotations=gone)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _age(pod: Manifest, now: datetime) -> float:
    """Return for how many seconds a Pod has run: its node's clock may differ from this machine's.

    It is not less than what the node itself has written: a clock here that is behind must not
    have a match ended early, as far as that can be known.
    """
    status = pod.get("status", {})
    started = parse_time(status.get("startTime")) or now
    written = (one.get("lastTransitionTime") for one in status.get("conditions") or [])
    seen = [moment for one in written if (moment := parse_time(one)) is not None]
    return max((moment - started).total_seconds() for moment in (now, started, *seen))


def _is_over(pod: Manifest) -> bool:
    return has_ended(pod) or bool(pod["metadata"].get("deletionTimestamp"))


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
