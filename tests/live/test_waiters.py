"""The waiters alone: any Pod, no fleet."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Timer
from typing import Any

import pytest
from attrs import evolve

from podfleet import (
    Cluster,
    ConfigurationError,
    Endpoint,
    Fleet,
    FleetServer,
    GameServer,
    PortPool,
    Protocol,
    ServerFailed,
    WaitTimeout,
    async_wait_gone,
    async_wait_reachable,
    async_wait_ready,
    wait_gone,
    wait_reachable,
    wait_ready,
)
from podfleet.testing.proxy import FaultyApi
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, over_udp

POOL = 26140, 26149
FREE_PORT = 26199  # of this machine: nobody listens there


def admin(backend: Backend) -> dict[str, Any]:
    """Return where the waiters are to look: the namespace, and a cluster."""
    cluster = Cluster(kubeconfig=backend.cluster.kubeconfig)
    return {"cluster": cluster, "namespace": backend.namespace}


def start(backend: Backend, name: str, **env: str) -> None:
    """Start a plain Pod of the test game server, whose readiness is probed."""
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}
    container = {
        "name": "game",
        "image": backend.cluster.image,
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "readinessProbe": probe,
    }
    spec = {"restartPolicy": "Never", "containers": [container]}
    metadata = {"name": name, "namespace": backend.namespace}
    backend.cluster.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])


def delete(backend: Backend, name: str) -> None:
    """Begin to delete a Pod."""
    backend.delete("pods", name)


def is_ready(backend: Backend, name: str) -> bool:
    """Return whether the API server shows the Pod Ready."""
    pod = backend.cluster.get("v1", "pods", backend.namespace, name)
    conditions = {one["type"]: one["status"] for one in pod["status"]["conditions"]}
    return bool(conditions["Ready"] == "True")


@contextmanager
def meanwhile(backend: Backend, action: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """Do something as soon as the block watches; give where it is to look."""
    proxy = FaultyApi(backend.cluster.kubeconfig)
    with proxy.kubeconfig(backend.cluster.kubeconfig) as through, ThreadPoolExecutor(1) as thread:

        def act() -> None:
            eventually(lambda: proxy.watching)
            action()

        done = thread.submit(act)
        yield {"cluster": Cluster(kubeconfig=through), "namespace": backend.namespace}
        done.result()


def test_a_pod_is_waited_for_until_it_is_ready(backend: Backend) -> None:
    start(backend, "arena-0", READY_AFTER="1")
    wait_ready("arena-0", **admin(backend), timeout=30)
    assert is_ready(backend, "arena-0")
    before = time.monotonic()
    wait_ready("arena-0", **admin(backend), timeout=30)  # it is already
    assert time.monotonic() - before < 2


def test_a_pod_may_be_created_after_the_wait_began(backend: Backend) -> None:
    with meanwhile(backend, lambda: start(backend, "arena-0")) as there:
        wait_ready("arena-0", **there, timeout=30)
    assert is_ready(backend, "arena-0")


def test_many_pods_are_awaited_at_once(backend: Backend) -> None:
    async def play() -> None:
        names = ["arena-0", "arena-1", "arena-2"]
        waits = [async_wait_ready(name, **admin(backend), timeout=60) for name in names]
        starts = [asyncio.to_thread(start, backend, name) for name in names]
        await asyncio.gather(*waits, *starts)
        await asyncio.gather(*(asyncio.to_thread(delete, backend, name) for name in names))
        await asyncio.gather(*(async_wait_gone(name, **admin(backend)) for name in names))

    asyncio.run(play())
    assert backend.pods() == []


def test_a_server_that_failed_is_diagnosed(backend: Backend) -> None:
    crash = {"EXIT_AFTER": "0.3", "EXIT_CODE": "3", "LAST_LINE": "map not found"}
    start(backend, "arena-0", NEVER_READY="1", **crash)
    with pytest.raises(ServerFailed, match=f"{backend.namespace}/arena-0: ") as caught:
        wait_ready("arena-0", **admin(backend), timeout=30)
    told = caught.value.diagnosis
    assert (told.reason, told.container, told.log[-1]) == ("Error", "game", "map not found")
    assert "container 'game' exited with code 3" in told.summary


def test_a_timeout_tells_the_last_status_seen(backend: Backend) -> None:
    start(backend, "arena-0", NEVER_READY="1")
    eventually(lambda: _probe_failed(backend))
    with pytest.raises(WaitTimeout, match=r"arena-0 is not ready after 1 s: Unhealthy") as caught:
        wait_ready("arena-0", **admin(backend), timeout=1)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.diagnosis is not None
    assert "503" in caught.value.diagnosis.summary


def _probe_failed(backend: Backend) -> bool:
    return any("503" in event["message"] for event in backend.objects("v1", "events"))


def test_a_pod_that_never_came_is_told_to_be_missing(backend: Backend) -> None:
    with pytest.raises(WaitTimeout, match=r"arena-9 does not exist after 1 s: create it") as caught:
        wait_ready("arena-9", **admin(backend), timeout=1)
    assert caught.value.diagnosis is None


def test_a_pod_that_is_deleted_meanwhile_has_failed(backend: Backend) -> None:
    start(backend, "arena-0", NEVER_READY="1")

    def delete_now() -> None:
        backend.delete("pods", "arena-0", grace=0)

    with (
        meanwhile(backend, delete_now) as there,
        pytest.raises(ServerFailed, match=r"arena-0: .*delete") as caught,
    ):
        wait_ready("arena-0", **there, timeout=30)
    assert caught.value.diagnosis.reason in ("Deleted", "Terminating")


def test_a_pod_is_waited_for_until_it_is_gone(backend: Backend) -> None:
    start(backend, "arena-0")
    wait_ready("arena-0", **admin(backend), timeout=30)
    with meanwhile(backend, lambda: delete(backend, "arena-0")) as there:
        wait_gone("arena-0", **there, timeout=30)
    assert backend.pods() == []
    wait_gone("arena-0", **admin(backend), timeout=30)  # it is already


def test_a_pod_that_stays_is_told_to_be_there_still(backend: Backend) -> None:
    start(backend, "arena-0")
    with pytest.raises(WaitTimeout, match=r"arena-0 is still there after 1 s: .*finalizer"):
        wait_gone("arena-0", **admin(backend), timeout=1)


@pytest.fixture
def server(backend: Backend) -> Iterator[FleetServer]:
    """Give a server of a fleet."""
    with make(Fleet, backend, PortPool(*POOL)) as fleet:
        yield fleet.allocate(timeout=30)


def test_a_server_is_waited_for_by_its_own_namespace_and_uid(
    backend: Backend, server: FleetServer
) -> None:
    cluster = Cluster(kubeconfig=backend.kubeconfig)
    wait_ready(server, cluster=cluster, timeout=10)
    earlier = former(server)  # a namesake of it that is gone
    wait_gone(earlier, cluster=cluster, timeout=10)
    with pytest.raises(WaitTimeout, match=f"{server.name} is still there after 1 s"):
        wait_gone(server, cluster=cluster, timeout=1)


def former(server: GameServer) -> GameServer:
    """Return a server that had the same name."""
    return evolve(server, uid="00000000-0000-0000-0000-000000000000")


def test_a_server_is_reached_over_tcp_and_udp(server: FleetServer) -> None:
    wait_reachable(server, payload=b"hello")
    wait_reachable(server.endpoint)  # TCP alone
    udp = evolve(server.endpoint, protocol=Protocol.UDP)
    asyncio.run(async_wait_reachable(udp, payload=b"hello"))
    assert over_udp(server.endpoint) == f"{server.name} hello"


def test_udp_without_a_payload_is_refused_at_once() -> None:
    udp = Endpoint("127.0.0.1", FREE_PORT, Protocol.UDP, "game")
    with pytest.raises(ConfigurationError, match=f"payload: None: 127.0.0.1:{FREE_PORT} is UDP"):
        wait_reachable(udp)


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
def test_an_endpoint_that_does_not_answer_is_named(protocol: Protocol) -> None:
    nobody = Endpoint("127.0.0.1", FREE_PORT, protocol, "game")
    said = f"127.0.0.1:{FREE_PORT}/{protocol.value} did not answer.*within 1 s.*refused.*firewall"
    with pytest.raises(WaitTimeout, match=said):
        wait_reachable(nobody, timeout=1, payload=b"hello")


def test_a_silent_endpoint_is_told_to_be_silent() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        silent = Endpoint("127.0.0.1", mute.getsockname()[1], Protocol.UDP, "game")
        with pytest.raises(WaitTimeout, match="nothing answered"):
            wait_reachable(silent, timeout=1.5, payload=b"hello")


def test_an_endpoint_may_begin_to_listen_after_the_wait_began() -> None:
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        endpoint = Endpoint("127.0.0.1", late.getsockname()[1], Protocol.TCP, "game")
        timer = Timer(0.5, late.listen)  # sooner than the wait begins, it proves less
        timer.start()
        wait_reachable(endpoint, timeout=10)
        timer.join()


@pytest.mark.parametrize("timeout", [0, -1, True, "10", float("nan"), None])
def test_a_timeout_that_is_none_is_refused_at_once(timeout: Any) -> None:
    endpoint = Endpoint("127.0.0.1", FREE_PORT, Protocol.TCP, "game")
    waits: list[Callable[[], None]] = [
        lambda: wait_ready("arena-0", timeout=timeout),
        lambda: wait_gone("arena-0", timeout=timeout),
        lambda: wait_reachable(endpoint, timeout=timeout),
    ]
    for wait in waits:
        with pytest.raises(ConfigurationError, match=r"timeout: .*seconds above 0"):
            wait()
