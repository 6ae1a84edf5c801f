"""NodePortPerPod: foreign Services in the range, a range that is full, the client's address."""

import http.client
from typing import Any

import pytest

from podfleet import (
    Exhausted,
    ExposureStrategy,
    Fleet,
    HostPort,
    NodePortPerPod,
    Port,
    PortPool,
    PortPoolExhausted,
    RangeFull,
    StatefulSet,
)
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live.arena import ANY_NODE, eventually, make, over_tcp, over_udp, template
from tests.live.faults import faulty


def squat(backend: Backend, *numbers: int) -> None:
    """Have somebody else's Services take these numbers."""
    services = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"squatter-{number}", "namespace": backend.namespace},
            "spec": {
                "type": "NodePort",
                "selector": {"app": "shop"},
                "ports": [{"port": 80, "nodePort": number}],
            },
        }
        for number in numbers
    ]
    backend.cluster.apply(services)


def test_foreign_services_in_the_range_are_gone_around(backend: Backend) -> None:
    squat(backend, *range(30000, 30008, 2))
    with make(
        Fleet, backend, exposure=NodePortPerPod(PortPool(30000, 30007), address=ANY_NODE)
    ) as fleet:
        servers = [fleet.allocate(timeout=60) for _ in range(4)]
        assert {server.endpoint.port for server in servers} == {30001, 30003, 30005, 30007}
        for server in servers:
            assert over_udp(server.endpoint) == f"{server.name} hello"
            assert over_tcp(server.endpoint) == f"{server.name} hello"


def test_a_pool_that_others_have_taken_is_told_apart_from_a_broken_server(
    backend: Backend,
) -> None:
    squat(backend, 30010, 30011)
    with (
        make(
            Fleet, backend, exposure=NodePortPerPod(PortPool(30010, 30011), address=ANY_NODE)
        ) as fleet,
        pytest.raises(PortPoolExhausted, match="already allocated"),
    ):
        fleet.allocate(timeout=5)
    eventually(lambda: backend.pods() == [])


def test_a_number_that_becomes_free_is_used(backend: Backend) -> None:
    squat(backend, 30020)
    with make(
        Fleet, backend, exposure=NodePortPerPod(PortPool(30020, 30020), address=ANY_NODE)
    ) as fleet:
        with pytest.raises(PortPoolExhausted):
            fleet.allocate(timeout=3)
        backend.delete("services", "squatter-30020")
        assert fleet.allocate(timeout=30).endpoint.port == 30020


def test_a_range_that_is_full_is_exhausted(backend: Backend) -> None:
    """Every NodePort that the cluster has left is taken; nothing is left behind."""

    def many(count: int) -> dict[str, Any]:
        ports = [{"name": f"p{one}", "port": 1000 + one} for one in range(count)]
        metadata = {"generateName": "many-", "namespace": backend.namespace}
        spec = {"type": "NodePort", "selector": {"app": "shop"}, "ports": ports}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}

    def taken_by_others() -> bool:
        services = backend.cluster.objects("v1", "services", None)
        return any(one["spec"]["type"] == "NodePort" for one in services)

    # Those of tests before go with their namespaces, and would make room in the middle of this.
    eventually(lambda: not taken_by_others(), 120)
    with make(Fleet, backend, exposure=NodePortPerPod(address=ANY_NODE)) as fleet:
        try:
            batch = 512
            while batch:  # ever smaller ones, until not a single one is left
                try:
                    backend.cluster.create(many(batch))
                except RangeFull:
                    batch //= 2
            with pytest.raises(Exhausted, match="range is full"):
                fleet.allocate(timeout=30)
            eventually(lambda: backend.pods() == [])
            over_a_set = make(
                Fleet,
                backend,
                name="duel",
                exposure=NodePortPerPod(address=ANY_NODE),
                workload=StatefulSet(replicas=1),
            )
            with over_a_set, pytest.raises(Exhausted, match="range is full"):
                over_a_set.allocate(timeout=30)
        finally:  # before any other test wants one
            for service in backend.objects("v1", "services"):
                backend.delete("services", service["metadata"]["name"])


def test_a_lost_reply_to_the_service_makes_one_service(backend: Backend) -> None:
    with faulty(backend) as (api, through):
        api.fail(Fault("POST", r"/services$", lose_reply=True))
        with make(Fleet, through, exposure=NodePortPerPod(address=ANY_NODE)) as fleet:
            server = fleet.allocate(timeout=30)
            assert eventually(lambda: over_tcp(server.endpoint)) == f"{server.name} hello"
        shown = backend.objects("v1", "services")
        assert [service["metadata"]["name"] for service in shown] == [server.name]
        assert api.count("POST") == 2  # the Pod, and its Service: looked up, not repeated


def client_address(host: str, port: int) -> tuple[str, str]:
    """Return the client's address as the server sees it, and as it is."""
    dialed = http.client.HTTPConnection(host, port, timeout=5)
    try:
        dialed.request("GET", "/client")
        own = str(dialed.sock.getsockname()[0])
        return dialed.getresponse().read().decode().strip(), own
    finally:
        dialed.close()


@pytest.mark.parametrize(
    "exposure",
    [NodePortPerPod(address=ANY_NODE), HostPort(PortPool(26600, 26609), address=ANY_NODE)],
    ids=["NodePortPerPod", "HostPort"],
)
def test_the_clients_address_is_kept(backend: Backend, exposure: ExposureStrategy) -> None:
    settings = template(backend, ports=[Port("web", 8080, "TCP")])
    with make(Fleet, backend, exposure=exposure, template=settings) as fleet:
        endpoint = fleet.allocate(timeout=30).endpoint
        seen, own = eventually(lambda: client_address(endpoint.host, endpoint.port))
        assert seen == own


def test_with_cluster_traffic_every_node_answers(backend: Backend) -> None:
    nodes = {
        one["address"]
        for node in backend.cluster.nodes()
        for one in node["status"]["addresses"]
        if one["type"] == "InternalIP"
    }
    settings = template(backend, ports=[Port("web", 8080, "TCP")])
    exposure = NodePortPerPod(address=ANY_NODE, traffic="Cluster")
    with make(Fleet, backend, exposure=exposure, template=settings) as fleet:
        endpoint = fleet.allocate(timeout=30).endpoint
        for address in nodes:
            seen, own = eventually(lambda host=address: client_address(host, endpoint.port))  # type: ignore[misc]
            assert address == endpoint.host or seen != own  # by a second hop
