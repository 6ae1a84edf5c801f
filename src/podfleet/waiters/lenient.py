"""Read JSON whose fields may be missing or of the wrong kind: an empty value stands for both.

A diagnosis is asked for when something went wrong already; it must not fail on a field that
a cluster, a virtual kubelet or a webhook left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["condition", "mapping", "mappings", "number", "text"]


def mapping(value: Any, *path: str) -> Mapping[str, Any]:
    """Return the object at a path, empty if there is none.

    Example:
        >>> mapping({"status": {"state": {"running": {}}}}, "status", "state")
        {'running': {}}
        >>> mapping({"status": None}, "status", "state")
        {}
    """
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def mappings(value: Any, *path: str) -> list[Mapping[str, Any]]:
    """Return the objects of the list at a path, empty if there is none."""
    found = mapping(value, *path[:-1]).get(path[-1])
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def text(value: Any, *path: str) -> str:
    """Return the string at a path, empty if there is none."""
    found = mapping(value, *path[:-1]).get(path[-1])
    return found if isinstance(found, str) else ""


def number(value: Any, *path: str) -> int | None:
    """Return the whole number at a path, or ``None``."""
    found = mapping(value, *path[:-1]).get(path[-1])
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def condition(pod: Any, kind: str) -> Mapping[str, Any]:
    """Return a Pod's condition of this type, empty if it has none.

    Example:
        >>> condition({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "Ready")
        {'type': 'Ready', 'status': 'True'}
    """
    for one in mappings(pod, "status", "conditions"):
        if text(one, "type") == kind:
            return one
    return {}
