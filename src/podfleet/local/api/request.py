"""What a request to the Kubernetes API is about: its path, its query, its sender and its body."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import yaml
from aiohttp import web
from attrs import frozen

from podfleet.local.api import protobuf
from podfleet.local.objects.kinds import Kind
from podfleet.local.objects.rights import Action
from podfleet.local.objects.selectors import Match, by_fields, by_labels
from podfleet.local.objects.statuses import Refusal, bad_request, not_implemented

__all__ = [
    "Target",
    "credentials",
    "delete_options",
    "find",
    "is_dry",
    "is_true",
    "read_body",
    "selected",
    "whole_number",
]

# Groups that every real cluster has: what is asked of them and is not here is named.
_BUILT_IN = (
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
)
_LARGEST = 3 * 2**20  # bytes of a body, as the real server takes them
_ROOTS = ("api", "apis", "healthz", "livez", "openapi", "readyz", "version")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@frozen
class Target:
    """What a request is about.

    Args:
        kind: The kind of the objects.
        namespace: Theirs; ``""`` for all, or for what is in none.
        name: The object's; ``""`` for a collection.
        subresource: ``status``, ``log``, ``token``, or ``""``.
    """

    kind: Kind
    namespace: str
    name: str
    subresource: str

    def action(self, method: str, query: Mapping[str, str]) -> Action:
        """Return what the sender wants to do, as RBAC has it."""
        if method == "GET":
            verb = "get" if self.name else "list"
            verb = "watch" if is_true(query.get("watch")) else verb
        elif method == "DELETE":
            verb = "delete" if self.name else "deletecollection"
        else:
            verb = _VERBS[method]
        resource = self.kind.plural + (f"/{self.subresource}" if self.subresource else "")
        namespace = self.name if self.kind.plural == "namespaces" else self.namespace
        return Action(verb, self.kind.group, resource, namespace, self.name)


def is_true(value: str | None) -> bool:
    """Return whether a parameter of a query is set."""
    return value in ("true", "True", "1")


def find(kinds: Sequence[Kind], path: str) -> Target | None:
    """Return what a path leads to; ``None`` if it is no resource's.

    Raises:
        Refusal: Nothing that is here.
    """
    parts = [unquote(part) for part in path.strip("/").split("/")]
    root = {"api": 2, "apis": 3}.get(parts[0])
    if root is None or len(parts) <= root:
        return None
    group, version, rest = "" if root == 2 else parts[1], parts[root - 1], parts[root:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *more = [*rest, "", ""][: max(3, len(rest))]
    for kind in kinds:
        if (kind.group, kind.version, kind.plural) == (group, version, plural) and not more:
            _check_subresource(kind, subresource)
            return Target(kind, namespace, name, subresource)
    if group in _BUILT_IN:
        raise not_implemented(f"{plural} in {f'{group}/{version}' if group else version}")
    raise Refusal(404, "NotFound", "the server could not find the requested resource", {})


def _check_subresource(kind: Kind, subresource: str) -> None:
    known = {"pods": ("log",), "serviceaccounts": ("token",)}.get(kind.plural, ())
    if subresource and subresource not in known and not (kind.status and subresource == "status"):
        raise not_implemented(f"{kind.plural}/{subresource}")


def credentials(request: web.BaseRequest) -> tuple[str, str]:
    """Return the path of a request, and the token that came with it.

    The token is in the header, or the first part of the path; the header's counts.
    """
    header = request.headers.get("Authorization", "")
    first, _, rest = request.path.removeprefix("/").partition("/")
    return (request.path, header) if first in _ROOTS else (f"/{rest}", header or first)


async def read_body(request: web.BaseRequest) -> Any:
    """Return what was sent: JSON, YAML, or an object in protobuf; ``None`` for nothing.

    Raises:
        Refusal: It cannot be read.
    """
    raw = await request.read()
    if len(raw) > _LARGEST:
        words = f"Request entity too large: limit is {_LARGEST}"
        raise Refusal(413, "RequestEntityTooLarge", words)
    if not raw:
        return None
    if request.content_type == protobuf.TYPE:
        return protobuf.decode(raw)
    try:
        return json.loads(raw)
    except ValueError:
        if "yaml" not in request.content_type:
            words = "error decoding patch" if request.method == "PATCH" else "couldn't parse it"
            raise bad_request(f"{words}: the body is no JSON") from None
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML: {error}") from None


def selected(kind: Kind, query: Mapping[str, str]) -> Match:
    """Return which objects a query selects.

    Raises:
        Refusal: It cannot be read.
    """
    labels = by_labels(query.get("labelSelector", ""))
    fields = by_fields(kind, query.get("fieldSelector", ""))
    return lambda shown: labels(shown) and fields(shown)


def is_dry(query: Mapping[str, str], options: Mapping[str, Any]) -> bool:
    """Return whether a write is only to be checked."""
    return query.get("dryRun") == "All" or options.get("dryRun") == ["All"]


def whole_number(query: Mapping[str, str], name: str, otherwise: int) -> int:
    """Return a number of a query.

    Raises:
        Refusal: It is none.
    """
    text = query.get(name) or str(otherwise)
    try:
        return int(text)
    except ValueError as error:
        raise bad_request(f"query parameter {name} cannot be read: {error}") from None


_DELETE_OPTIONS: Mapping[str, type] = {
    "gracePeriodSeconds": int,
    "preconditions": dict,
    "propagationPolicy": str,
    "dryRun": list,
}


def delete_options(query: Mapping[str, str], body: Any) -> dict[str, Any]:
    """Return how an object is to be deleted: the body's options, and the query's over them.

    Raises:
        Refusal: They cannot be read.
    """
    if not isinstance(body or {}, dict):
        raise bad_request("the body is no object")
    options = {key: value for key, value in (body or {}).items() if value is not None}
    if query.get("gracePeriodSeconds"):
        options["gracePeriodSeconds"] = whole_number(query, "gracePeriodSeconds", 0)
    if query.get("propagationPolicy"):
        options["propagationPolicy"] = query["propagationPolicy"]
    for name, wanted in _DELETE_OPTIONS.items():
        value = options.get(name, wanted())
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise bad_request(f"DeleteOptions cannot be read: {name} has another type")
    return options
