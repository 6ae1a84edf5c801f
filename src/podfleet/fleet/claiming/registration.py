"""A session's registration: where two who ask for one session at the same instant meet. Pure.

It is a Lease whose name follows from the session, so that the API server lets only one be made.
It names one candidate, and is never changed: when that is over, it is deleted and another made.
Its Pod owns it, so that it goes when the Pod goes, whether a backend runs or not.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from podfleet.fleet.claiming.claim import Candidate
from podfleet.model import Manifest, names
from podfleet.model.manifest import annotations_of, uid_of

__all__ = ["Registration", "lease", "registration_of"]


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


def registration_of(shown: Manifest, session: str | None = None) -> Registration | None:
    """Return what a Lease registers; ``None`` if it was not made by `lease`.

    Args:
        shown: The Lease.
        session: The session that it is to be of; by default any.
    """
    notes = annotations_of(shown)
    try:
        owner = shown["metadata"]["ownerReferences"][0]
        server = names.check_server_name("ownerReferences.name", owner["name"])
        candidate = Candidate(server, str(owner["uid"]), int(notes[names.TURN]))
        registration = Registration(
            notes[names.SESSION], candidate, int(notes[names.SLOTS]), uid_of(shown)
        )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None
    return registration if session in (None, registration.session) else None
