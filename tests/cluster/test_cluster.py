"""The ground that the other tests stand on: the cluster is a real one."""

import asyncio
import json
import urllib.request
from typing import Any

import aiohttp
import pytest

from podfleet import Endpoint, Protocol
from tests.cluster.fixtures import LiveCluster
from tests.cluster.naming import resolve
from tests.live.arena import eventually, over_tcp, over_udp

pytestmark = pytest.mark.only("real", "it is about that cluster itself")

FAKE_PODS = 1000


def pod(cluster: LiveCluster, namespace: str, name: str, **changes: Any) -> dict[str, Any]:
    """Return the Pod of a game server."""
    env = [{"name": key, "value": value} for key, value in changes.pop("env", {}).items()]
    ports = changes.pop("ports", [])
    container = {"name": "server", "image": cluster.image, "env": env, "ports": ports}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"game": name}},
        "spec": {"restartPolicy": "Never", "containers": [container], **changes},
    }


def ready(cluster: LiveCluster, namespace: str, name: str) -> Any:
    """Wait until a Pod is ready and return it."""
    wait = ("wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    cluster.kubectl(*wait, f"pod/{name}")
    return cluster.json("get", "pod", name, "-n", namespace)


def test_a_host_port_is_reached_over_tcp_and_udp_on_one_number(
    cluster: LiveCluster, namespace: str
) -> None:
    ports = [{"containerPort": 7777, "hostPort": 34000, "protocol": p} for p in ("TCP", "UDP")]
    cluster.apply([pod(cluster, namespace, "gs", ports=ports)])
    host = ready(cluster, namespace, "gs")["status"]["hostIP"]
    endpoint = Endpoint(host, 34000, Protocol.TCPUDP, "game")
    assert over_udp(endpoint) == over_tcp(endpoint) == "gs hello"


def test_a_server_speaks_http_and_websocket(cluster: LiveCluster, namespace: str) -> None:
    ports = [{"containerPort": 8080, "hostPort": 34001}]
    cluster.apply([pod(cluster, namespace, "web", ports=ports)])
    url = f"http://{ready(cluster, namespace, 'web')['status']['hostIP']}:34001"
    with urllib.request.urlopen(f"{url}/lobby", timeout=5) as answer:
        assert answer.read() == b"web /lobby\n"

    async def talk() -> str:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws") as socket:
            await socket.send_str("hello")
            return await socket.receive_str(timeout=5)

    assert asyncio.run(talk()) == "web hello"


def test_the_stable_name_of_a_pod_is_resolved(cluster: LiveCluster, namespace: str) -> None:
    if cluster.ours is None:
        pytest.skip("the DNS server of a cluster of one's own is not reached from outside")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "arena", "namespace": namespace},
        "spec": {"clusterIP": "None", "selector": {"game": "gs-1"}},
    }
    cluster.apply([service, pod(cluster, namespace, "gs-1", hostname="gs-1", subdomain="arena")])
    address = ready(cluster, namespace, "gs-1")["status"]["podIP"]
    name = f"gs-1.arena.{namespace}.svc.cluster.local"
    assert eventually(lambda: resolve(name)) == address


def test_a_node_port_is_open_on_the_pods_own_node_alone(
    cluster: LiveCluster, namespace: str
) -> None:
    spec = {
        "type": "NodePort",
        "externalTrafficPolicy": "Local",
        "selector": {"game": "np"},
        "ports": [{"port": 7777, "protocol": "TCP"}],
    }
    metadata = {"name": "np", "namespace": namespace}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    cluster.apply([service, pod(cluster, namespace, "np")])
    own = ready(cluster, namespace, "np")["status"]["hostIP"]
    number = cluster.json("get", "service", "np", "-n", namespace)["spec"]["ports"][0]["nodePort"]

    def answer(host: str) -> str:
        try:
            return over_tcp(Endpoint(host, number, Protocol.TCP, "game"), timeout=1)
        except OSError:
            return ""

    assert eventually(lambda: answer(own)) == "np hello"
    addresses = [node["status"]["addresses"][0]["address"] for node in cluster.nodes()]
    assert [answer(host) for host in addresses if host != own] == [""] * (len(addresses) - 1)


def test_a_server_can_be_told_to_end(cluster: LiveCluster, namespace: str) -> None:
    env = {"EXIT_AFTER": "0.5", "EXIT_CODE": "3", "LAST_LINE": "the map is gone"}
    cluster.apply([pod(cluster, namespace, "ends", env=env)])

    def ended() -> Any:
        shown = cluster.json("get", "pod", "ends", "-n", namespace)["status"]
        return shown if shown.get("phase") == "Failed" else None

    (container,) = eventually(ended)["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 3
    assert "the map is gone" in cluster.kubectl("logs", "ends", "-n", namespace)


def test_a_thousand_fake_pods_run_on_fake_nodes(
    cluster: LiveCluster, namespace: str, crowd: dict[str, Any]
) -> None:
    placed = {"tolerations": crowd["tolerations"], "nodeSelector": crowd["node_selector"]}
    cluster.create_quickly(
        [pod(cluster, namespace, f"fake-{number}", **placed) for number in range(FAKE_PODS)]
    )

    def running() -> int:
        pods = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]
        # With the node's address, as a kubelet shows it.
        return sum(
            one["status"].get("phase") == "Running" and "hostIP" in one["status"] for one in pods
        )

    eventually(lambda: running() == FAKE_PODS, 120)
    cluster.kubectl(
        *("delete", "pods", "-n", namespace, "--all", "--force", "--grace-period=0"),
        "--wait=false",
    )
