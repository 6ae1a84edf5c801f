"""Paths of the Kubernetes API, and the JSON Pointers of its patches. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

from podfleet.errors import ConfigurationError

__all__ = ["leases", "member", "object_path", "pods", "pointer"]


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
    collection = "/".join(parts)
    return collection if name is None else member(collection, name)


def member(collection: str, name: str) -> str:
    """Return the path of one object of a collection.

    Example:
        >>> member("/api/v1/namespaces/games/pods", "arena-1")
        '/api/v1/namespaces/games/pods/arena-1'

    Raises:
        ConfigurationError: No object has that name: the path would be another resource's.
    """
    if not name or name in (".", ".."):  # `quote` keeps dots
        raise ConfigurationError("name", name, f"is no object's name, in {collection}")
    return f"{collection}/{quote(name, safe='')}"


def pods(namespace: str, name: str | None = None) -> str:
    """Return the path of a namespace's Pods, or of one."""
    return object_path("v1", "pods", namespace, name)


def leases(namespace: str) -> str:
    """Return the path of a namespace's Leases."""
    return object_path("coordination.k8s.io/v1", "leases", namespace)


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
