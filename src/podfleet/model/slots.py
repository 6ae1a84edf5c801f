"""Slots: several sessions on one server. Pure: what its Pod's annotations say.

A server of a template with ``slots`` carries its capacity, and who has how many of them, as JSON:
``{"match-42": 2}``. Other servers have one session or none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from podfleet.model.manifest import Manifest, annotations_of
from podfleet.model.names import SESSION, SESSIONS, SLOTS

__all__ = ["capacity_of", "free_slots", "has_slots", "sessions_of", "written"]


def has_slots(pod: Manifest) -> bool:
    """Return whether several sessions may share the server."""
    return SLOTS in annotations_of(pod)


def capacity_of(pod: Manifest) -> int:
    """Return how many slots a server has; 1 for one that is not shared."""
    value = annotations_of(pod).get(SLOTS, "1")
    return int(value) if value.isdecimal() else 1


def sessions_of(pod: Manifest) -> Mapping[str, int]:
    """Return the sessions on a server, and how many slots each has.

    Example:
        >>> sessions_of({"metadata": {"annotations": {
        ...     "podfleet.dev/slots": "10", "podfleet.dev/sessions": '{"red": 2}'}}})
        {'red': 2}
        >>> sessions_of({"metadata": {"annotations": {"podfleet.dev/session": "blue"}}})
        {'blue': 1}
    """
    notes = annotations_of(pod)
    if SLOTS in notes:
        found: Mapping[str, int] = json.loads(notes.get(SESSIONS, "{}"))
        return found
    return {notes[SESSION]: 1} if SESSION in notes else {}


def free_slots(pod: Manifest) -> int:
    """Return how many slots nobody has."""
    return capacity_of(pod) - sum(sessions_of(pod).values())


def written(sessions: Mapping[str, int]) -> str:
    """Return sessions as they are written on a Pod."""
    return json.dumps(dict(sorted(sessions.items())), separators=(",", ":"))
