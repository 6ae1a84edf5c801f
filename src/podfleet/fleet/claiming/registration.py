"""A session's registration: where two who ask for one session at the same instant meet. Pure.

It is a Lease whose name follows from the session, so that the API server lets only one be made.
It names one candidate, and is never changed: when that is over, it is deleted and another made.
Its Pod owns it, so that it goes when the Pod goes, whether a backend runs or not.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from podfleet.fleet.claiming.claim import Candidate
from podfleet.kube.paths import object_path
from podfleet.model import Manifest, names
from podfleet.model.manifest import annotations_of, uid_of

__all__ = ["Registration", "lease", "registration_of", "registrations"]


@frozen
class Registration:
    """A session, and the one server that may be claimed for it.

    Args:
        session: The session.
        candidate: The server, at the turn from which it may be claimed.
        slots: How many of its slots, if it is shared.
        uid: The Lease's UID.
    """

    session: str
    candidate: Candidate
    slots: int
    uid: str


def registrations(namespace: str, fleet: str, session: str | None = None) -> str:
    """Return the path of the namespace's Leases, or of a session's."""
    name = None if session is None else names.registration_name(fleet, session)
    return object_path("coordination.k8s.io/v1", "leases", namespace, name)


def lease(
    namespace: str, fleet: str, session: str, candidate: Candidate, slots: int
) -> dict[str, Any]:
    """Return the Lease that registers a candidate for a session."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": names.registration_name(fleet, session),
            "namespace": namespace,
            "labels": {names.FLEET: fleet, names.SESSION: names.session_label(session)},
            "annotations": {
                names.SESSION: session,
                names.TURN: str(candidate.turn),
                names.SLOTS: str(slots),
            },
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": candidate.name, "uid": candidate.uid}
            ],
        },
        "spec": {"holderIdentity": candidate.name},
    }


def registration_of(shown: Manifest) -> Registration:
    """Return what a Lease registers."""
    notes = annotations_of(shown)
    owner = shown["metadata"]["ownerReferences"][0]
    candidate = Candidate(owner["name"], owner["uid"], int(notes[names.TURN]))
    slots = int(notes[names.SLOTS])
    return Registration(notes[names.SESSION], candidate, slots, uid_of(shown))
