"""Numbers that somebody else uses, and pools that are too small."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from podfleet import (
    AllocationTimeout,
    Cluster,
    Fleet,
    HostPort,
    NodeAddress,
    Port,
    PortPool,
    PortPoolExhausted,
    wait_ready,
)
from tests.cluster.fixtures import Backend
from tests.live.arena import ANY_NODE, eventually, make, over_tcp, over_udp, template

pytestmark = pytest.mark.alone  # it counts on a node that has nothing else to start


def stranger(backend: Backend, node: str, number: int) -> dict[str, Any]:
    """Return a Pod that is not podfleet's, on a hostPort of a node."""
    ports = [{"containerPort": 7777, "hostPort": number, "protocol": p} for p in ("TCP", "UDP")]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"stranger-{node}-{number}", "namespace": backend.namespace},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [{"name": "x", "image": backend.cluster.image, "ports": ports}],
        },
    }


def occupy(backend: Backend, *numbers: int) -> None:
    """Have strangers listen on these numbers of every node."""
    nodes = [node["metadata"]["name"] for node in backend.cluster.nodes()]
    strangers = [stranger(backend, node, number) for node in nodes for number in numbers]
    backend.cluster.apply(strangers)
    admin = Cluster(kubeconfig=backend.cluster.kubeconfig)
    for pod in strangers:
        wait_ready(pod["metadata"]["name"], namespace=backend.namespace, cluster=admin)


def unplaced(backend: Backend) -> set[str]:
    """Return the Pods of which the scheduler said that it finds no node for them."""
    return {
        event["involvedObject"]["name"]
        for event in backend.objects("v1", "events")
        if event["reason"] == "FailedScheduling"
    }


def one_number(backend: Backend) -> set[int]:
    """Return the hostPort that waits for a node; none while one Pod takes another's place."""
    waiting = [pod["spec"] for pod in backend.pods() if not pod["spec"].get("nodeName")]
    numbers = {spec["containers"][0]["ports"][0]["hostPort"] for spec in waiting}
    return numbers if len(numbers) == 1 else set()


def test_allocations_succeed_around_a_foreign_pod_on_each_node(backend: Backend) -> None:
    occupy(backend, 26200)
    pool = PortPool(26200, 26202)
    nodes = len(backend.cluster.nodes())
    with make(Fleet, backend, pool) as fleet:
        servers = [fleet.allocate(timeout=60) for _ in range(2 * nodes)]
        assert {server.endpoint.port for server in servers} == {26201, 26202}
        for server in servers:
            assert over_udp(server.endpoint) == f"{server.name} hello"


def test_an_exhausted_pool_is_told_within_the_timeout_and_leaves_nothing(
    backend: Backend,
) -> None:
    pool = PortPool(26210, 26211)
    room = 2 * len(backend.cluster.nodes())
    with make(Fleet, backend, pool) as fleet:
        servers = [fleet.allocate(timeout=60) for _ in range(room)]
        with pytest.raises(PortPoolExhausted, match=r"PortPool\(26210, 26211\)") as caught:
            fleet.allocate(timeout=5)
        assert caught.value.asked == 1
        assert caught.value.free == 0
        assert set(caught.value.held_by) == {26210, 26211}
        assert caught.value.diagnosis is not None
        assert "free ports" in caught.value.diagnosis.message
        names = {server.name for server in servers}
        eventually(lambda: {pod["metadata"]["name"] for pod in backend.pods()} == names)
        eventually(
            lambda: (
                {holder.split("/")[1] for held in pool.in_use.values() for holder in held} == names
            )
        )
        servers[0].release()
        assert fleet.allocate(timeout=60).endpoint == servers[0].endpoint


def test_a_number_that_a_stranger_leaves_is_found(backend: Backend) -> None:
    """Nobody tells of it, and the Pod that waits may have another number."""
    occupy(backend, 26240, 26241)
    with make(Fleet, backend, PortPool(26240, 26241)) as fleet, ThreadPoolExecutor() as pool:
        allocating = pool.submit(fleet.allocate, timeout=60)
        eventually(lambda: len(unplaced(backend)) >= 2)  # each number has been tried
        (number,) = eventually(lambda: one_number(backend))
        (left,) = {26240, 26241} - {number}
        for node in backend.cluster.nodes():
            name = f"stranger-{node['metadata']['name']}-{left}"
            backend.delete("pods", name, grace=0)
        assert allocating.result().endpoint.port == left


def test_several_ports_of_a_server_fit_on_one_node_together(backend: Backend) -> None:
    ports = [Port("game", 7777, "TCPUDP"), Port("chat", 7778, "TCPUDP")]
    many = template(backend, ports=ports, env={"EXTRA_PORTS": "7778"})
    nodes = len(backend.cluster.nodes())
    pool = PortPool(26220, 26225)
    with make(Fleet, backend, pool, template=many) as fleet:
        servers = [fleet.allocate(timeout=60) for _ in range(3 * nodes)]  # every number of both
        used = {(one.host, one.port) for server in servers for one in server.endpoints}
        assert len(used) == 6 * nodes
        for server in servers:
            assert over_tcp(server.endpoint_for("chat")) == f"{server.name} hello"


def test_an_address_that_is_only_private_is_not_guessed(backend: Backend) -> None:
    pool = PortPool(26230, 26231)
    with make(Fleet, backend, exposure=HostPort(pool)) as fleet:
        with pytest.raises(ValueError, match=r"NodeAddress\(internal=True\)"):
            fleet.allocate(timeout=30)
        eventually(lambda: not backend.pods())
        eventually(lambda: not pool.in_use)


def test_a_map_of_addresses_needs_no_right_to_read_nodes(backend: Backend) -> None:
    addresses = {}
    for node in backend.cluster.nodes():
        ip = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
        addresses[node["metadata"]["name"]] = ip
    exposure = HostPort(PortPool(26240, 26241), address=NodeAddress(by_node=addresses))
    with make(Fleet, backend, exposure=exposure) as fleet:
        rules = [rule for one in fleet.manifests(backend.account) for rule in one.get("rules", [])]
        (nodes,) = [rule for rule in rules if "nodes" in rule["resources"]]
        assert nodes["verbs"] == ["list", "watch"]  # for the cordoned ones: it works without
        server = fleet.allocate(timeout=30)
        assert over_udp(server.endpoint) == f"{server.name} hello"


def test_a_probe_dials_the_server_before_it_is_handed_out(backend: Backend) -> None:
    exposure = HostPort(PortPool(26250, 26251), address=ANY_NODE)
    with make(Fleet, backend, exposure=exposure, probe=b"anybody there?") as fleet:
        server = fleet.allocate(timeout=30)
        assert backend.cluster.log(backend.namespace, server.name)


def test_a_server_that_does_not_answer_the_probe_is_not_handed_out(backend: Backend) -> None:
    deaf = template(backend, ports=[Port("game", 7999, "TCP")])  # nobody listens there
    pool = PortPool(26260, 26261)
    with make(Fleet, backend, pool, template=deaf, probe=True) as fleet:
        with pytest.raises(AllocationTimeout, match="did not answer from here"):
            fleet.allocate(timeout=5)
        eventually(lambda: not backend.pods())
        eventually(lambda: not pool.in_use)
