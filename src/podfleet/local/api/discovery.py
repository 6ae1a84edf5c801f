"""What tells a client which kinds there are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podfleet.local.objects.kinds import Kind

__all__ = ["OPEN_API_V2", "VERSION", "discover"]

VERSION = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.2+podfleet",
    "platform": "podfleet/embedded",
}

OPEN_API_V2 = b"\n\x032.0"
"""OpenAPI's old form, in protobuf, without a definition: kubectl then checks nothing by itself."""

_ALL = ("pods", "services", "statefulsets")  # what ``kubectl get all`` shows
_NO_SCHEMAS: dict[str, Any] = {"components": {"schemas": {}}}
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def discover(kinds: Sequence[Kind], path: str) -> dict[str, Any] | None:
    """Return the document of a path; ``None`` if there is none."""
    parts = path.strip("/").split("/")
    if path == "/version":
        return dict(VERSION)
    if parts[:2] == ["openapi", "v3"]:
        return _open_api(kinds, "/".join(parts[2:]))
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = sorted({kind.group for kind in kinds if kind.group})
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [_group(kinds, group) for group in groups],
        }
    if parts[0] == "apis" and len(parts) == 2 and any(kind.group == parts[1] for kind in kinds):
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(kinds, parts[1])}
    if parts[0] in ("api", "apis") and len(parts) == 2 + (parts[0] == "apis"):
        return _resources(kinds, "/".join(parts[1:]))
    return None


def _group(kinds: Sequence[Kind], group: str) -> dict[str, Any]:
    versions = sorted({kind.version for kind in kinds if kind.group == group})
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _resources(kinds: Sequence[Kind], api_version: str) -> dict[str, Any] | None:
    listed: list[dict[str, Any]] = []
    for kind in kinds:
        if kind.api_version != api_version:
            continue
        about = {"namespaced": kind.namespaced, "kind": kind.name}
        listed.append(
            {
                "name": kind.plural,
                "singularName": kind.name.lower(),
                **about,
                "verbs": _VERBS if kind.stored else ["create"],
                **({"shortNames": list(kind.short)} if kind.short else {}),
                **({"categories": ["all"]} if kind.plural in _ALL else {}),
            }
        )
        if kind.status:
            verbs = ["get", "patch", "update"]
            listed.append(
                {"name": f"{kind.plural}/status", "singularName": "", **about, "verbs": verbs}
            )
    if not listed:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": listed,
    }


def _open_api(kinds: Sequence[Kind], root: str) -> dict[str, Any] | None:
    """Return what ``kubectl apply`` looks up in OpenAPI: which query parameters a PATCH takes."""
    roots = {kind: f"{'apis' if kind.group else 'api'}/{kind.api_version}" for kind in kinds}
    if not root:
        served = sorted(set(roots.values()))
        return {"paths": {one: {"serverRelativeURL": f"/openapi/v3/{one}"} for one in served}}
    paths = {
        f"/{root}/{'namespaces/{namespace}/' * kind.namespaced}{kind.plural}/{{name}}": {
            "patch": {
                "parameters": [
                    {"name": name, "in": "query", "schema": {"type": "string"}}
                    for name in _PARAMETERS
                ],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-group-version-kind": {
                    "group": kind.group,
                    "version": kind.version,
                    "kind": kind.name,
                },
            }
        }
        for kind, at in roots.items()
        if at == root and kind.stored
    }
    info = {"title": "podfleet", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths, **_NO_SCHEMAS} if paths else None
