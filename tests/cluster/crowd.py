"""Nodes that kwok plays, for hundreds of Pods whose programs do not matter."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from podfleet.testing import eventually

__all__ = ["FAKE", "PLACED", "fake_nodes"]

_LABEL = {"type": "fake"}
FAKE = ",".join(f"{key}={value}" for key, value in _LABEL.items())
"""The selector of such nodes."""

_READY = '{.items[*].status.conditions[?(@.type=="Ready")].status}'

PLACED: dict[str, Any] = {
    "node_selector": _LABEL,
    "tolerations": [{"key": "fake", "operator": "Exists"}],
}
"""What a template must say, for its Pods to run there."""


@contextmanager
def fake_nodes(kubectl: Callable[..., str], count: int, pods: int = 110) -> Iterator[None]:
    """Make nodes for as long as the block lasts, tainted so that no real Pod lands there.

    Their names are new each time: of a node that comes back under its name within seconds kwok
    0.8 does not renew the Lease any more, and it is NotReady, with its Pods, 40 s later.

    Args:
        kubectl: Runs kubectl as admin.
        count: How many.
        pods: How many Pods each takes.
    """
    crowd = f"fake-{uuid.uuid4().hex[:6]}"
    room = {"cpu": "1000", "memory": "1000Gi", "pods": str(pods)}
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"{crowd}-{number}",
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {**_LABEL, "crowd": crowd},
            },
            "spec": {"taints": [{"key": "fake", "value": "true", "effect": "NoSchedule"}]},
            "status": {
                "allocatable": room,
                "capacity": room,
                # What kwok writes on the Pods, too; from a range that is nobody's (RFC 5737).
                # Of a node without a Hostname it removes every address.
                "addresses": [
                    {"type": "InternalIP", "address": f"192.0.2.{number % 254 + 1}"},
                    {"type": "Hostname", "address": f"{crowd}-{number}"},
                ],
            },
        }
        for number in range(count)
    ]
    items = {"apiVersion": "v1", "kind": "List", "items": nodes}
    kubectl("create", "-f", "-", stdin=json.dumps(items))
    try:
        # kwok may be a while, after the API server was restarted under it. In one look: `kubectl
        # wait` asks for one node after the other, five a second.
        look = ("get", "nodes", "-l", f"crowd={crowd}", "-o", f"jsonpath={_READY}")
        eventually(lambda: kubectl(*look).split() == ["True"] * count, 120)
        yield
    finally:
        kubectl("delete", "nodes", "-l", FAKE, "--wait=false")
