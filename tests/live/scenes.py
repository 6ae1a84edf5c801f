"""What there is before an operation, made by others than its fleet."""

import asyncio
from typing import Any

from podfleet import Cluster, Fleet, NodePortPerPod, PortPool
from podfleet.fleet.claiming.claim import Candidate
from podfleet.fleet.claiming.registration import lease
from podfleet.kube import KubeClient
from podfleet.kube.paths import leases, object_path, pods
from podfleet.model.names import new_server_name
from tests.live.stage import ADDRESS, Stage

__all__ = ["OTHER", "left_behind", "others_port", "others_set"]

OTHER = "other"
"""The fleet of `others_port`."""


def others_set(stage: Stage) -> None:
    """Make a StatefulSet that is nobody's yet."""
    labels = {"app": "legacy"}
    container = {"name": "game", "image": stage.image}
    spec = {"terminationGracePeriodSeconds": 2, "containers": [container]}
    legacy = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "legacy", "namespace": stage.namespace},
        "spec": {
            "serviceName": "legacy",
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    _create(stage, (object_path("apps/v1", "statefulsets", stage.namespace), legacy))


def others_port(stage: Stage) -> Fleet:
    """Return a fleet that takes the NodePort which the stage's own would take first."""
    pool = PortPool(stage.first, stage.first)
    return stage.fleet(OTHER, exposure=NodePortPerPod(pool, address=ADDRESS))


def left_behind(stage: Stage) -> None:
    """Make what killed backends leave: a server that nobody claims, and a claim that never was."""
    with stage.fleet() as fleet:
        (free,) = fleet.servers()
    numbers = (stage.first + 9,)
    orphan = fleet.own().spec.pod(stage.namespace, new_server_name(fleet.name), numbers, patience=0)
    stray = lease(stage.namespace, fleet.name, "match-9", Candidate(free.name, free.uid, 0), 1)
    _create(
        stage,
        (pods(stage.namespace), orphan),
        (leases(stage.namespace), stray),
    )


def _create(stage: Stage, *objects: tuple[str, dict[str, Any]]) -> None:
    async def make() -> None:
        client = KubeClient(Cluster(kubeconfig=stage.kubeconfig))
        try:
            for path, manifest in objects:
                await client.create(path, manifest)
        finally:
            await client.close()

    asyncio.run(make())
