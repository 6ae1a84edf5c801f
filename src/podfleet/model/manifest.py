"""Kubernetes objects as the API server's JSON shows them: plain dicts, never models.

The official client's models refuse fields that are newer than the client on create and
drop unknown ones on read; plain JSON keeps whatever a user or a cluster put there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

__all__ = [
    "Manifest",
    "annotations_of",
    "is_named",
    "labels_of",
    "name_of",
    "namespace_of",
    "parse_time",
    "uid_of",
]

Manifest: TypeAlias = Mapping[str, Any]


def is_named(shown: object) -> bool:
    """Return whether something that may make no sense has a name, at least.

    Example:
        >>> is_named({"metadata": {"name": "arena-1"}}), is_named({"metadata": None}), is_named(7)
        (True, False, False)
    """
    metadata = shown.get("metadata") if isinstance(shown, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("name"), str)


def name_of(manifest: Manifest) -> str:
    """Return the object's name."""
    return str(manifest["metadata"]["name"])


def namespace_of(manifest: Manifest) -> str:
    """Return the object's namespace."""
    return str(manifest["metadata"]["namespace"])


def uid_of(manifest: Manifest) -> str:
    """Return the object's UID."""
    return str(manifest["metadata"]["uid"])


def labels_of(manifest: Manifest) -> Mapping[str, str]:
    """Return the object's labels, empty if it has none."""
    return manifest["metadata"].get("labels") or {}


def annotations_of(manifest: Manifest) -> Mapping[str, str]:
    """Return the object's annotations, empty if it has none."""
    return manifest["metadata"].get("annotations") or {}


@lru_cache(maxsize=4096)  # a Pod has a dozen, most of which several Pods and all its versions share
def parse_time(value: str | None) -> datetime | None:
    """Return a Kubernetes timestamp (RFC 3339, UTC) as an aware datetime.

    Example:
        >>> parse_time("2026-11-23T04:05:06Z")
        datetime.datetime(2026, 11, 23, 4, 5, 6, tzinfo=datetime.timezone.utc)
    """
    return datetime.fromisoformat(value).astimezone(UTC) if value else None
