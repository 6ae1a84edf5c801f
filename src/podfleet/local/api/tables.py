"""The columns that ``kubectl get`` shows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podfleet.local.clock import parse
from podfleet.local.objects.kinds import Kind
from podfleet.model import Manifest
from podfleet.model.manifest import name_of

__all__ = ["table", "wants_table"]


def wants_table(accept: str) -> bool:
    """Return whether a client asks for a Table, as kubectl does."""
    return "as=Table" in accept.partition(",")[0] and "v=v1;" in f"{accept.partition(',')[0]};"


def table(
    kind: Kind,
    shown: Sequence[Manifest],
    now: float,
    metadata: Mapping[str, Any] | None = None,
    *,
    whole: bool = False,
) -> dict[str, Any]:
    """Return objects as the rows of a Table.

    Args:
        kind: Their kind.
        shown: The objects.
        now: For their age.
        metadata: Of the list.
        whole: Whether each row has its object, not only its metadata.
    """
    columns: dict[str, Callable[[Manifest], str]] = {
        "Name": name_of,
        **_COLUMNS.get(kind.plural, {}),
        "Age": lambda one: _age(one, now),
        **_WIDE.get(kind.plural, {}),
    }
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata or {},
        "columnDefinitions": [
            {
                "name": name,
                "type": "string",
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": 1 if name in _WIDE.get(kind.plural, {}) else 0,
            }
            for name in columns
        ],
        "rows": [
            {
                "cells": [cell(one) for cell in columns.values()],
                "object": one
                if whole
                else {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": one["metadata"],
                },
            }
            for one in shown
        ],
    }


def _age(shown: Manifest, now: float) -> str:
    seconds = int(now - parse(shown["metadata"]["creationTimestamp"]))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _statuses(pod: Manifest) -> list[Any]:
    return pod["status"].get("containerStatuses") or []


def _ready(pod: Manifest) -> str:
    ready = sum(bool(one["ready"]) for one in _statuses(pod))
    return f"{ready}/{len(pod['spec']['containers'])}"


def _state(pod: Manifest) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    if pod["status"].get("reason"):
        return str(pod["status"]["reason"])
    for status in _statuses(pod):
        for word in ("waiting", "terminated"):
            told = status["state"].get(word) or {}
            if told.get("reason"):
                return str(told["reason"])
    return str(pod["status"]["phase"])


def _restarts(pod: Manifest) -> str:
    return str(sum(one["restartCount"] for one in _statuses(pod)))


def _node_status(node: Manifest) -> str:
    conditions = node.get("status", {}).get("conditions") or []
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    words = ["Ready" if ready else "NotReady"]
    if node["spec"].get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _ports(service: Manifest) -> str:
    ports = service["spec"].get("ports") or []
    return ",".join(map(_port, ports)) or "<none>"


def _port(port: Manifest) -> str:
    node_port = f":{port['nodePort']}" if "nodePort" in port else ""
    return f"{port['port']}{node_port}/{port['protocol']}"


_COLUMNS: dict[str, dict[str, Callable[[Manifest], str]]] = {
    "pods": {
        "Ready": _ready,
        "Status": _state,
        "Restarts": _restarts,
    },
    "nodes": {"Status": _node_status},
    "services": {
        "Type": lambda service: service["spec"]["type"],
        "Cluster-IP": lambda service: service["spec"].get("clusterIP", "<none>"),
        "Port(s)": _ports,
    },
    "statefulsets": {
        "Ready": lambda one: f"{one['status'].get('readyReplicas', 0)}/{one['spec']['replicas']}"
    },
    "namespaces": {"Status": lambda namespace: namespace["status"]["phase"]},
    "events": {
        "Type": lambda event: event.get("type", ""),
        "Reason": lambda event: event.get("reason", ""),
        "Object": lambda event: "/".join(
            [event["involvedObject"]["kind"].lower(), event["involvedObject"]["name"]]
        ),
        "Message": lambda event: event.get("message", ""),
    },
}
_WIDE: dict[str, dict[str, Callable[[Manifest], str]]] = {
    "pods": {
        "IP": lambda pod: pod["status"].get("podIP", "<none>"),
        "Node": lambda pod: pod["spec"].get("nodeName", "<none>"),
    },
}
"""Shown with ``-o wide`` only, after the age."""
