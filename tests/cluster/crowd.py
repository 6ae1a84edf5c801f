"""Nodes that kwok plays, for hundreds of Pods whose programs do not matter."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["PLACED", "fake_nodes"]

_LABEL = {"type": "fake"}

PLACED: dict[str, Any] = {
    "node_selector": _LABEL,
    "tolerations": [{"key": "fake", "operator": "Exists"}],
}
"""What a template must say, for its Pods to run there."""


@contextmanager
def fake_nodes(kubectl: Callable[..., str], count: int, pods: int = 110) -> Iterator[None]:
    """Make nodes for as long as the block lasts, tainted so that no real Pod lands there.

    Args:
        kubectl: Runs kubectl as admin.
        count: How many.
        pods: How many Pods each takes.
    """
    room = {"cpu": "1000", "memory": "1000Gi", "pods": str(pods)}
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"fake-{number}",
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": _LABEL,
            },
            "spec": {"taints": [{"key": "fake", "value": "true", "effect": "NoSchedule"}]},
            "status": {
                "allocatable": room,
                "capacity": room,
                # What kwok writes on the Pods, too; from a range that is nobody's (RFC 5737).
                # Of a node without a Hostname it removes every address.
                "addresses": [
                    {"type": "InternalIP", "address": f"192.0.2.{number % 254 + 1}"},
                    {"type": "Hostname", "address": f"fake-{number}"},
                ],
            },
        }
        for number in range(count)
    ]
    items = {"apiVersion": "v1", "kind": "List", "items": nodes}
    kubectl("create", "-f", "-", stdin=json.dumps(items))
    try:
        yield
    finally:
        kubectl("delete", "nodes", "-l", "type=fake", "--wait=false")
