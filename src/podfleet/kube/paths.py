"""Paths of the Kubernetes API, and the JSON Pointers of its patches. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

__all__ = ["object_path", "pods", "pointer"]


def object_path(
    api_version: str, plural: str, namespace: str | None = None, name: str | None = None
) -> str:
    """Return the path of a collection, or with a name of one object.

    Example:
        >>> object_path("v1", "pods", "games", "arena-1")
        '/api/v1/namespaces/games/pods/arena-1'
        >>> object_path("apps/v1", "statefulsets", "games")
        '/apis/apps/v1/namespaces/games/statefulsets'
        >>> object_path("v1", "nodes", name="node-a")
        '/api/v1/nodes/node-a'
    """
    parts = ["/apis" if "/" in api_version else "/api", api_version]
    if namespace is not None:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(plural)
    if name is not None:
        parts.append(quote(name, safe=""))
    return "/".join(parts)


def pods(namespace: str, name: str | None = None) -> str:
    """Return the path of a namespace's Pods, or of one."""
    return object_path("v1", "pods", namespace, name)


@lru_cache(maxsize=1024)
def pointer(*parts: str) -> str:
    """Return a JSON Pointer (RFC 6901).

    Example:
        >>> pointer("metadata", "labels", "podfleet.dev/state")
        '/metadata/labels/podfleet.dev~1state'
    """
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def delete_body(*, uid: str | None, version: str | None, grace: int | None) -> Mapping[str, object]:
    """Return ``DeleteOptions`` with preconditions: only that very object, at that version."""
    preconditions = {"uid": uid, "resourceVersion": version}
    return {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {key: value for key, value in preconditions.items() if value is not None},
        **({"gracePeriodSeconds": grace} if grace is not None else {}),
    }
