"""Can an object be read? Pure: asked once of each, on its way into a `Store`.

What a person, a webhook or another controller wrote on one object must not stop a fleet: so what
cannot be read is left out there, and whatever reads the store may rely on the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from podfleet.model import names
from podfleet.model.manifest import parse_time
from podfleet.model.server import server_from_pod
from podfleet.model.slots import free_slots, sessions_of

__all__ = ["unreadable", "unreadable_pod"]

_FIX = "fix or delete it"


def unreadable(shown: object) -> str | None:
    """Return why an object of any kind cannot be read; ``None`` if it can.

    Example:
        >>> unreadable({"metadata": {"name": "a", "uid": "b", "labels": None}})
        >>> unreadable({"metadata": {"uid": "b"}})
        'its metadata.name is no text'
    """
    try:
        _check_object(shown)
    except (ValueError, RecursionError) as error:
        return str(error)
    return None


def unreadable_pod(shown: object) -> str | None:
    """Return why a server's Pod cannot be read; ``None`` if it can.

    Example:
        >>> pod = {
        ...     "metadata": {
        ...         "name": "arena-1", "namespace": "games", "uid": "b",
        ...         "creationTimestamp": "2026-11-23T04:05:06Z",
        ...         "annotations": {"podfleet.dev/slots": "2", "podfleet.dev/sessions": "{"},
        ...     },
        ...     "spec": {},
        ... }
        >>> unreadable_pod(pod)
        'its annotation podfleet.dev/sessions is not JSON: fix or delete it'
    """
    try:
        _check_pod(_check_object(shown))
    except (ValueError, RecursionError) as error:
        return str(error)
    except Exception as error:  # whatever else the readers would have stumbled over
        return f"it makes no sense: {type(error).__name__}: {error}"
    return None


def _check_object(shown: object) -> Mapping[str, Any]:
    if not isinstance(shown, dict):
        raise ValueError(f"it is no object, but {type(shown).__name__}")
    metadata = _mapping(shown, "", "metadata", is_needed=True)
    for key in ("name", "uid"):
        _text(metadata, "metadata.", key, is_needed=True)
    for key in ("namespace", "resourceVersion"):
        _text(metadata, "metadata.", key)
    for key in ("creationTimestamp", "deletionTimestamp"):
        _time(_text(metadata, "metadata.", key), f"metadata.{key}")
    for key in ("labels", "annotations"):
        for name, value in _mapping(metadata, "metadata.", key).items():
            if not isinstance(value, str):
                raise ValueError(f"its metadata.{key}[{name!r}] is no text")
    for key in ("spec", "status"):
        if key in shown:
            _mapping(shown, "", key, is_needed=True)
    return shown


def _check_pod(pod: Mapping[str, Any]) -> None:
    _text(pod["metadata"], "metadata.", "namespace", is_needed=True)
    _text(pod["metadata"], "metadata.", "creationTimestamp", is_needed=True)
    spec = _mapping(pod, "", "spec", is_needed=True)
    _text(spec, "spec.", "nodeName")
    for kind in ("containers", "initContainers"):
        for container in _mappings(spec, "spec.", kind):
            where = f"spec.{kind}[]."
            _text(container, where, "name", is_needed=True)
            for port in _mappings(container, where, "ports"):
                _number(port, f"{where}ports[].", "hostPort")
    status = _mapping(pod, "", "status")
    for key in ("phase", "hostIP", "podIP", "reason", "message"):
        _text(status, "status.", key)
    _time(_text(status, "status.", "startTime"), "status.startTime")
    for condition in _mappings(status, "status.", "conditions"):
        since = _text(condition, "status.conditions[].", "lastTransitionTime")
        _time(since, "status.conditions[].lastTransitionTime")
    for kind in ("containerStatuses", "initContainerStatuses"):
        for one in _mappings(status, "status.", kind):
            _number(one, f"status.{kind}[].", "restartCount")
    _check_notes(pod["metadata"].get("annotations") or {})
    # Last, those who will read it: they know better than this list.
    server_from_pod(pod, (), ready=False)
    free_slots(pod)
    sessions_of(pod)


def _check_notes(notes: Mapping[str, str]) -> None:
    for key in (names.RESERVED_UNTIL, names.ALLOCATED_AT):
        _time(notes.get(key) or None, f"annotation {key}", _FIX)
    for key, checked in _JSON.items():
        if key not in notes:
            continue
        try:
            value = json.loads(notes[key])
        except (ValueError, RecursionError):
            raise ValueError(f"its annotation {key} is not JSON: {_FIX}") from None
        if (wrong := checked(value)) is not None:
            raise ValueError(f"its annotation {key} {wrong}: {_FIX}")
    if names.SLOTS in notes:
        value = notes[names.SLOTS]
        if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) > 0):
            raise ValueError(f"its annotation {names.SLOTS} is no number of slots: {_FIX}")
    if not len(notes.get(names.TURN, "")) < 19:
        raise ValueError(f"its annotation {names.TURN} is no number: {_FIX}")


def _wrong_sessions(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "does not say who has how many slots"
    counts = value.values()
    if not all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in counts):
        return "has a session whose slots are no number above 0"
    return None


def _wrong_given(value: Any) -> str | None:
    if isinstance(value, list) and len(value) == 2 and all(map(_is_texts, value)):
        return None
    return "is not a list of labels and a list of annotations"


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_JSON: Mapping[str, Callable[[Any], str | None]] = {
    names.SESSIONS: _wrong_sessions,
    names.GIVEN: _wrong_given,
}


def _mapping(
    of: Mapping[str, Any], where: str, key: str, *, is_needed: bool = False
) -> Mapping[str, Any]:
    value = of.get(key)
    if value is None and not is_needed:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"its {where}{key} is no object")
    return value


def _mappings(of: Mapping[str, Any], where: str, key: str) -> list[Mapping[str, Any]]:
    value = of.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"its {where}{key} is no list of objects")
    return value


def _text(of: Mapping[str, Any], where: str, key: str, *, is_needed: bool = False) -> str | None:
    value = of.get(key)
    if value is None and not is_needed:
        return None
    if not isinstance(value, str) or (is_needed and not value):
        raise ValueError(f"its {where}{key} is no text")
    return value


def _number(of: Mapping[str, Any], where: str, key: str) -> None:
    value = of.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"its {where}{key} is no whole number")


def _time(value: str | None, where: str, advice: str = "") -> None:
    try:
        moment = parse_time(value)
    except (ValueError, OverflowError):
        moment = None
    if value is not None and moment is None:
        raise ValueError(f"its {where} is no time{f': {advice}' if advice else ''}")
