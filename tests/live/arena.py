"""The fleet of these tests, and how a player dials its servers."""

import asyncio
import copy
import os
from collections.abc import Callable
from typing import Any, TypeVar

from podfleet import (
    AsyncFleet,
    Cluster,
    Fleet,
    GameServerTemplate,
    HostPort,
    NodeAddress,
    Port,
    PortPool,
)
from podfleet.testing.cluster import eventually
from podfleet.testing.dialing import over_tcp, over_udp
from tests.cluster.fixtures import Backend

__all__ = [
    "ANY_NODE",
    "GRACE",
    "eventually",
    "eventually_async",
    "make",
    "over_tcp",
    "over_udp",
    "own_ports",
    "template",
]

ANY_NODE = NodeAddress(internal=True)  # the test cluster's nodes have private addresses

GRACE = 5  # seconds

# Below the NodePorts. Where a test needs numbers that it can name, they are 26000 to 26999.
_FIRST_PORT, _PORTS = 21000, 500

_T = TypeVar("_T")
_Face = TypeVar("_Face", Fleet, AsyncFleet)


def template(backend: Backend, **changes: Any) -> GameServerTemplate:
    """Return the template of the test game server."""
    pod = copy.deepcopy(changes.pop("pod", {}))
    # A process that is told to end while it starts may miss it, and is then given this long.
    pod.setdefault("spec", {}).setdefault("terminationGracePeriodSeconds", GRACE)
    changes["pod"] = pod
    return GameServerTemplate(
        **{"image": backend.cluster.image, "ports": [Port("game", 7777, "TCPUDP")], **changes}
    )


def own_ports(count: int = 100) -> PortPool:
    """Return a pool of host ports that no test beside this one uses: nodes have them but once."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST_PORT + worker * _PORTS
    return PortPool(first, first + count - 1)


def make(
    face: type[_Face], backend: Backend, pool: PortPool | None = None, **changes: Any
) -> _Face:
    """Return a fleet that runs with the rights of the Role that it prints, and no others."""
    settings: dict[str, Any] = {
        "template": template(backend),
        "exposure": HostPort(pool or own_ports(), address=ANY_NODE),
        "namespace": backend.namespace,
        "cluster": Cluster(kubeconfig=backend.kubeconfig),
        **changes,
    }
    grant = settings.pop("grant", True)
    fleet = face(settings.pop("name", "arena"), **settings)
    if not grant:
        return fleet
    roles = fleet.manifests(backend.account)
    for role in roles:
        if role["kind"].startswith("ClusterRole"):  # found by this label afterwards
            role["metadata"]["labels"] = {"test": backend.namespace}
    backend.grant(roles)
    return fleet


async def eventually_async(condition: Callable[[], _T], timeout: float = 30.0) -> _T:
    """Do the same without blocking the event loop."""
    return await asyncio.to_thread(eventually, condition, timeout)
