"""Nodes that a test cordons, and that are open again after it, however it ends."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.fixtures import LiveCluster

__all__ = ["cordoned"]

_OPEN_AGAIN = 'cat; exec "$@"'


@contextmanager
def cordoned(cluster: LiveCluster, node: str) -> Iterator[None]:
    """Cordon a node for as long as the block lasts.

    A process of its own opens it again, as soon as this one says so, or is no more.
    """
    if cluster.local is not None:
        path = f"/api/v1/nodes/{node}"
        cluster.patch(path, {"op": "add", "path": "/spec/unschedulable", "value": True})
        try:
            yield
        finally:
            cluster.patch(path, {"op": "remove", "path": "/spec/unschedulable"})
        return
    command = ["sh", "-c", _OPEN_AGAIN, "sh", *cluster.kubectl_program, "uncordon", node]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as watcher:
        try:
            cluster.kubectl("cordon", node)
            yield
        finally:
            assert watcher.stdin is not None
            watcher.stdin.close()
            assert watcher.wait(60) == 0
