"""The fleet of these tests, and how a player dials its servers."""

import asyncio
import copy
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from podfleet import (
    AsyncFleet,
    Cluster,
    Endpoint,
    Fleet,
    GameServerTemplate,
    HostPort,
    NodeAddress,
    Port,
    PortPool,
)
from tests.cluster.fixtures import Backend

ANY_NODE = NodeAddress(internal=True)  # the test cluster's nodes have private addresses

GRACE = 5  # seconds

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


def make(
    face: type[_Face], backend: Backend, pool: PortPool | None = None, **changes: Any
) -> _Face:
    """Return a fleet that runs with the rights of the Role that it prints, and no others."""
    settings: dict[str, Any] = {
        "template": template(backend),
        "exposure": HostPort(pool or PortPool(31000, 31099), address=ANY_NODE),
        "namespace": backend.namespace,
        "cluster": Cluster(kubeconfig=backend.kubeconfig),
        **changes,
    }
    fleet = face("arena", **settings)
    roles = fleet.rbac(backend.account)
    for role in roles:  # those that belong to no namespace are found by this label afterwards
        role["metadata"]["labels"] = {"test": backend.namespace}
    backend.grant(roles)
    return fleet


def over_udp(endpoint: Endpoint, payload: bytes = b"hello", timeout: float = 5.0) -> str:
    """Send a datagram and return the answer; a lost one is sent again, as games do."""
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dialed:
        dialed.connect((endpoint.host, endpoint.port))
        dialed.settimeout(0.5)
        while True:
            try:
                dialed.send(payload)
                return dialed.recv(2048).decode()
            except OSError:
                if time.monotonic() > deadline:
                    raise


def over_tcp(endpoint: Endpoint, payload: bytes = b"hello", timeout: float = 5.0) -> str:
    """Send a line and return the answer."""
    with socket.create_connection((endpoint.host, endpoint.port), timeout) as dialed:
        dialed.sendall(payload + b"\n")
        return dialed.makefile().readline().strip()


def eventually(condition: Callable[[], _T], timeout: float = 30.0) -> _T:
    """Return what the condition gives as soon as that is true."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"still {found!r} after {timeout:g} s")
        time.sleep(0.05)
    return found


async def eventually_async(condition: Callable[[], _T], timeout: float = 30.0) -> _T:
    """Do the same without blocking the event loop."""
    return await asyncio.to_thread(eventually, condition, timeout)
