"""A Pod manifest that a caller gives: as Kubernetes reads it, nulls and all. Pure.

To the API server a null is a field that is not there (Helm and YAML write many), in a map of
strings the empty string. What podfleet itself reads of a Pod is checked here for its type, with the
field's path; all else is the API server's to judge: it may know fields that are newer than this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from podfleet.errors import ConfigurationError
from podfleet.model.names import (
    check_annotations,
    check_container_name,
    check_labels,
    check_node_labels,
)
from podfleet.model.plain import member, plain
from podfleet.model.quantity import check_resources

__all__ = ["read_pod", "without_nulls"]

_STRINGS: Final = ("labels", "annotations", "nodeSelector", "matchLabels")
"""Maps of strings, where a null is an empty one."""

_TYPES: Final = {str: "a string", int: "a whole number", bool: "True or False"}

_PORT: Final = {"name": str, "containerPort": int, "hostPort": int, "protocol": str, "hostIP": str}
_CONTAINER: Final = {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "env": [{"name": str, "value": str}],
    "ports": [_PORT],
    "resources": {},
    "restartPolicy": str,
    "volumeMounts": [{"name": str, "mountPath": str}],
    "terminationMessagePath": str,
}
_POD: Final = {
    "apiVersion": str,
    "kind": str,
    "metadata": {"name": str, "namespace": str, "labels": {}, "annotations": {}},
    "spec": {
        "activeDeadlineSeconds": int,
        "containers": [_CONTAINER],
        "hostNetwork": bool,
        "hostname": str,
        "initContainers": [_CONTAINER],
        "nodeName": str,
        "nodeSelector": {},
        "restartPolicy": str,
        "serviceAccountName": str,
        "subdomain": str,
        "terminationGracePeriodSeconds": int,
        "tolerations": [{"key": str, "operator": str, "value": str, "effect": str}],
        "volumes": [{"name": str}],
    },
}
"""What podfleet reads: a type, ``[...]`` for a list of these, ``{...}`` for an object."""


def read_pod(field: str, value: object) -> dict[str, Any]:
    """Return a copy of a Pod manifest without its nulls.

    Raises:
        ConfigurationError: It is no manifest, or podfleet could not read it; the field is the path.

    Example:
        >>> read_pod("pod", {"metadata": {"labels": None}, "spec": None})
        {'metadata': {}}
        >>> read_pod("pod", {"spec": {"containers": [{"ports": "7777"}]}})
        Traceback (most recent call last):
            ...
        podfleet.errors.ConfigurationError: pod.spec.containers[0].ports: '7777': must be a list
    """
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            field, type(value).__name__, "must be a dict or a kubernetes V1Pod"
        )
    pod: dict[str, Any] = without_nulls(field, plain(field, value))
    _check(field, pod, _POD)
    for key, own in (("apiVersion", "v1"), ("kind", "Pod")):
        if pod.get(key, own) != own:
            raise ConfigurationError(f"{field}.{key}", pod[key], f"must be {own!r}")
    metadata, spec = pod.get("metadata", {}), pod.get("spec", {})
    check_labels(f"{field}.metadata.labels", metadata.get("labels", {}))
    check_annotations(f"{field}.metadata.annotations", metadata.get("annotations", {}))
    check_node_labels(f"{field}.spec.nodeSelector", spec.get("nodeSelector", {}))
    names: set[str] = set()
    for listed in ("initContainers", "containers"):
        for at, container in enumerate(spec.get(listed, [])):
            _check_container(f"{field}.spec.{listed}[{at}]", container, names)
    return pod


def _check_container(field: str, container: Mapping[str, Any], names: set[str]) -> None:
    name = check_container_name(f"{field}.name", container.get("name"))
    if name in names:
        raise ConfigurationError(f"{field}.name", name, "another container has this name")
    names.add(name)
    check_resources(f"{field}.resources", container.get("resources", {}))
    for listed, key in (("env", "name"), ("volumeMounts", "mountPath"), ("ports", "containerPort")):
        for at, one in enumerate(container.get(listed, [])):
            if key not in one:
                raise ConfigurationError(f"{field}.{listed}[{at}]", one, f"must have a {key}")


def without_nulls(field: str, value: Any, *, strings: bool = False) -> Any:
    """Return JSON without the members that are null, as Go reads it."""
    if isinstance(value, list):
        found = []
        for at, one in enumerate(value):
            if one is None:
                raise ConfigurationError(
                    member(field, at), None, "an item of a list cannot be null: leave it out"
                )
            found.append(without_nulls(member(field, at), one))
        return found
    if not isinstance(value, dict):
        return value
    if strings:
        return {key: "" if one is None else one for key, one in value.items()}
    return {
        key: without_nulls(member(field, key), one, strings=key in _STRINGS)
        for key, one in value.items()
        if one is not None
    }


def _check(field: str, value: Any, wanted: Any) -> None:
    """Refuse what has another type than Kubernetes' field."""
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            raise ConfigurationError(field, value, "must be an object: a dict")
        for key, kind in wanted.items():
            if key in value:
                _check(member(field, key), value[key], kind)
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            raise ConfigurationError(field, value, "must be a list")
        for at, one in enumerate(value):
            _check(member(field, at), one, wanted[0])
    elif not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ConfigurationError(field, value, f"must be {_TYPES[wanted]}")
