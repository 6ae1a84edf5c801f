"""The fleet of game servers: what one is, and how players reach it.

The same on the embedded cluster and on a real one; the environment says what differs.
"""

from __future__ import annotations

import os

from podfleet import AsyncFleet, GameServerTemplate, HostPort, NodeAddress, Port, PortPool

__all__ = ["IMAGE", "make_fleet"]

IMAGE = "arcade:1"
FREE = 5  # servers kept ready, so that nobody waits for one to start


def make_fleet(image: str | None = None, namespace: str | None = None) -> AsyncFleet:
    """Return the fleet.

    Args:
        image: The image of the servers; by default the one that ``ARCADE_IMAGE`` names.
        namespace: Where they live; by default the cluster's configuration says it.
    """
    readiness = {
        "httpGet": {"path": "/healthz", "port": 7777},
        "periodSeconds": 1,
        "failureThreshold": 3,
    }
    container = {"name": "server", "readinessProbe": readiness}
    return AsyncFleet(
        "arcade",
        template=GameServerTemplate(
            image=image or os.environ.get("ARCADE_IMAGE", IMAGE),
            args=["-m", "arcade.server"],  # the image's entrypoint is a Python
            ports=[Port("game", 7777, "TCPUDP")],  # WebSocket and UDP on one number
            env={"ARCADE_CRASHABLE": os.environ.get("ARCADE_CRASHABLE", "no")},
            resources={"requests": {"cpu": "50m", "memory": "64Mi"}},
            pod={"spec": {"containers": [container], "terminationGracePeriodSeconds": 3}},
        ),
        exposure=HostPort(
            PortPool(7000, 7099),
            # ARCADE_PRIVATE=yes: the players are in the nodes' own network.
            address=NodeAddress(internal=os.environ.get("ARCADE_PRIVATE") == "yes"),
        ),
        namespace=namespace,
        ready=FREE,
    )
