"""Addresses are what the cluster shows now; a server without an endpoint is not handed out."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from podfleet import (
    AllocationPhase,
    AllocationTimeout,
    AsyncFleet,
    ClusterView,
    ConfigurationError,
    Endpoint,
    Exhausted,
    ExposureStrategy,
    Fleet,
    GameServerTemplate,
    HostPort,
    NodeAddress,
    NodePortPerPod,
    PortPoolExhausted,
    Protocol,
    Resource,
    ServerFailed,
    ServerState,
)
from podfleet.fleet.nodes import FRESH
from podfleet.kube.paths import object_path, pointer
from podfleet.model import Manifest, Port
from podfleet.testing import Fault, FaultyApi
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, eventually_async, make, own_ports, template
from tests.live.faults import faulty

pytestmark = pytest.mark.only("embedded", "its Nodes and Pods are changed by hand")

FIRST, SECOND = "203.0.113.1", "203.0.113.2"


@pytest.fixture
def broken(backend: Backend) -> Iterator[tuple[FaultyApi, Backend]]:
    with faulty(backend) as pair:
        yield pair


@pytest.fixture
def nodes(backend: Backend) -> Iterator[list[str]]:
    """Give the cluster's nodes a public address; they are as they were afterwards."""
    names = [one["metadata"]["name"] for one in backend.cluster.nodes()]
    give_address(backend, names, FIRST)
    yield names
    give_address(backend, names, None)


def give_address(backend: Backend, nodes: list[str], address: str | None) -> None:
    where = pointer("metadata", "annotations", key_of(backend))
    for node in nodes:
        shown = backend.cluster.get("v1", "nodes", None, node)
        operations: list[dict[str, Any]] = []
        if not shown["metadata"].get("annotations"):
            operations.append({"op": "add", "path": "/metadata/annotations", "value": {}})
        operations.append({"op": "add", "path": where, "value": address or FIRST})
        if address is None:
            operations.append({"op": "remove", "path": where})
        backend.cluster.patch(object_path("v1", "nodes", name=node), *operations)


def key_of(backend: Backend) -> str:
    """Return an annotation's key that no other test has."""
    return f"{backend.namespace}.example.com/address"


def annotated(backend: Backend) -> HostPort:
    return HostPort(own_ports(), address=NodeAddress(by_annotation=key_of(backend)))


async def seen(fleet: AsyncFleet, how: str) -> None:
    """Return when the next call has to see what was changed: a moment, or two seconds, later."""
    began = time.monotonic()
    while how != "watched" and time.monotonic() < began + FRESH:
        await asyncio.sleep(0.05)
    while how == "watched":
        found = await fleet.find("match-1")
        if found is not None and found.endpoint.host == SECOND:
            return
        assert time.monotonic() < began + 5, "the old address is shown still"


@pytest.mark.parametrize("how", ["watched", "no right to watch", "the watch is cut"])
def test_the_next_match_is_sent_to_the_nodes_new_address(
    broken: tuple[FaultyApi, Backend], nodes: list[str], how: str
) -> None:
    api, backend = broken
    if how == "no right to watch":
        api.fail(Fault("GET", "/nodes[?].*watch=true", 1000, status=403))

    async def play() -> None:
        exposure = annotated(backend)
        async with make(AsyncFleet, backend, exposure=exposure, ready=2) as fleet:
            await eventually_async(lambda: fleet.statuses()[0].servers[ServerState.READY] == 2)
            server = await fleet.allocate("match-1", timeout=30)
            assert server.endpoint.host == FIRST
            if how != "no right to watch":
                await eventually_async(lambda: any("/nodes?" in one for one in api.watching))
            if how == "the watch is cut":
                fault = api.fail(Fault("GET", "/nodes[?].*watch=true", 1000, status=500))
                api.cut_watches()
                await eventually_async(lambda: fault.times < 1000)
            await asyncio.to_thread(give_address, backend, nodes, SECOND)
            await seen(fleet, how)
            asked = len(api.seen)
            server = await fleet.allocate("match-2", timeout=30)
            assert server.endpoint.host == SECOND
            gets = [one for one in api.seen[asked:] if one == f"GET /api/v1/nodes/{server.node}"]
            assert len(gets) == (0 if how == "watched" else 1)
            for session in ("match-1", "match-2"):
                found = await fleet.find(session)
                assert found is not None
                assert found.endpoint.host == SECOND
            assert {one.endpoint.host for one in await fleet.servers("allocated")} == {SECOND}

    asyncio.run(play())


def has_none(fleet: Fleet) -> bool:
    found = fleet.find("match-1")
    return found is not None and not found.endpoints


def test_a_node_that_gives_none_is_named(backend: Backend, nodes: list[str]) -> None:
    exposure = annotated(backend)
    with make(Fleet, backend, exposure=exposure) as fleet:
        assert fleet.allocate("match-1", timeout=30).endpoint.host == FIRST
        give_address(backend, nodes, f"{SECOND}:7000")
        eventually(lambda: has_none(fleet))
        with pytest.raises(
            ConfigurationError,
            match=r"NodeAddress.by_annotation: .* for this node: .*leave the port out",
        ):
            fleet.allocate("match-2", timeout=30)
        give_address(backend, nodes, SECOND)
        eventually(lambda: not has_none(fleet))
        give_address(backend, nodes, None)
        eventually(lambda: has_none(fleet))
        with pytest.raises(ConfigurationError, match="gives None for this node"):
            fleet.allocate("match-2", timeout=30)


def test_a_node_port_that_was_changed_is_the_one_that_is_handed_out(backend: Backend) -> None:
    exposure = NodePortPerPod(address=NodeAddress(internal=True))

    async def play() -> None:
        async with make(AsyncFleet, backend, exposure=exposure, ready=1) as fleet:
            await eventually_async(lambda: fleet.statuses()[0].servers[ServerState.READY] == 1)
            (server,) = await fleet.servers()
            before = server.endpoint.port
            path = f"/api/v1/namespaces/{backend.namespace}/services/{server.name}"
            (service,) = await asyncio.to_thread(backend.objects, "v1", "services")
            ports = [{**one, "nodePort": one["nodePort"] + 1} for one in service["spec"]["ports"]]
            moved = {"op": "replace", "path": "/spec/ports", "value": ports}
            await asyncio.to_thread(backend.cluster.patch, path, moved)
            await seen(fleet, "read")
            taken = await fleet.allocate("match-1", timeout=30)
            assert taken.name == server.name
            assert taken.endpoint.port == before + 1
            await asyncio.to_thread(backend.delete, "services", server.name)
            again = await fleet.allocate("match-1", timeout=30)
            service = await asyncio.to_thread(
                backend.cluster.get, "v1", "services", backend.namespace, taken.name
            )
            assert again.endpoint.port == service["spec"]["ports"][0]["nodePort"]

    asyncio.run(play())


class Dropped(HostPort):
    """Its Pods come without a hostPort, as where a mutating webhook drops it."""

    def shape(
        self, pod: dict[str, Any], template: GameServerTemplate, numbers: tuple[int, ...]
    ) -> None:
        pod["metadata"].setdefault("annotations", {})["was"] = str(numbers)


@pytest.mark.parametrize("warm", [0, 2])
def test_a_server_whose_hostport_was_dropped_is_not_handed_out(backend: Backend, warm: int) -> None:
    pool = own_ports(10)
    exposure = Dropped(pool, address=NodeAddress(internal=True))
    ready: dict[str, Any] = {"ready": warm} if warm else {}
    with make(Fleet, backend, exposure=exposure, **ready) as fleet:
        with pytest.raises(ServerFailed) as failed:
            fleet.allocate("match-1", timeout=20)
        assert failed.value.diagnosis.reason == "NoEndpoint"
        assert "its Pod has no hostPort for port 'game'" in str(failed.value)
        assert "a mutating webhook?" in str(failed.value)
        if not warm:
            eventually(lambda: not backend.pods())
            eventually(lambda: not pool.in_use)
        else:
            assert fleet.status().servers[ServerState.READY] == 0


class Own(ExposureStrategy):
    """A strategy of a user's own, that answers what it is told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def endpoints(
        self, pod: Manifest, template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        return self.answer()  # type: ignore[no-any-return]


def endpoint(host: Any = FIRST, port: Any = 7777, name: str = "game") -> Endpoint:
    return Endpoint(host, port, Protocol.TCPUDP, name)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (lambda: (), ServerFailed, "Own names none for port 'game'"),
        (lambda: (endpoint(name="query"),), ServerFailed, "Own names none for port 'game'"),
        (lambda: (endpoint(host=""),), ConfigurationError, "host.*''"),
        (lambda: (endpoint(host="1.2.3.4:7"),), ConfigurationError, "host.*'1.2.3.4:7'"),
        (lambda: (endpoint(port=0),), ConfigurationError, "port.*0"),
        (lambda: (endpoint(port="7777"),), ConfigurationError, "port.*'7777'"),
        (lambda: ("1.2.3.4",), ConfigurationError, "must be a tuple of Endpoint or None"),
        (lambda: 7, ConfigurationError, "must be a tuple of Endpoint or None"),
        (lambda: dict[str, str]()["podIP"], ConfigurationError, r"\) raised KeyError: 'podIP'"),
    ],
)  # fmt: skip
def test_what_a_strategy_of_ones_own_names_is_looked_at(
    backend: Backend, answer: Any, error: type[Exception], says: str
) -> None:
    with make(Fleet, backend, exposure=Own(answer)) as fleet:
        with pytest.raises(error, match=says):
            fleet.allocate(timeout=30)
        eventually(lambda: not backend.pods())


def test_a_former_template_counts_by_the_ports_that_its_pod_declares(backend: Backend) -> None:
    """A match that runs on after a deployment keeps its endpoint, though a port is new."""
    pool = own_ports(10)
    exposure = HostPort(pool, address=NodeAddress(internal=True))
    with make(Fleet, backend, exposure=exposure) as fleet:
        before = fleet.allocate("match-1", timeout=30)
    ports = [Port("game", 7777, "TCPUDP"), Port("query", 7778, "UDP")]
    newer = GameServerTemplate(image=backend.cluster.image, ports=ports)
    with make(Fleet, backend, exposure=exposure, template=newer) as fleet:
        again = fleet.allocate("match-1", timeout=30)
        assert (again.name, again.endpoints) == (before.name, before.endpoints)
        assert [one.name for one in fleet.allocate("match-2", timeout=30).endpoints] == [
            "game",
            "query",
        ]


def test_a_pod_of_a_node_that_is_gone_is_not_handed_out(
    broken: tuple[FaultyApi, Backend], nodes: list[str]
) -> None:
    api, backend = broken
    exposure = annotated(backend)
    api.fail(Fault("GET", "/nodes[?]", 1000, status=403))
    with make(Fleet, backend, exposure=exposure) as fleet:
        api.fail(Fault("GET", r"/nodes/[^/?]+$", 1000, status=404))
        with pytest.raises(AllocationTimeout, match=r"Node \S+ is not there any more") as failed:
            fleet.allocate("match-1", timeout=3)
        assert failed.value.phase is AllocationPhase.ENDPOINT


class Shared(ExposureStrategy):
    """Reads the address from a Service that all servers share, as that of a load balancer is."""

    def __init__(self, service: str) -> None:
        self.service = service

    def shared_objects(self, fleet: str, template: GameServerTemplate) -> tuple[Resource, ...]:
        manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": self.service}}
        return (Resource("services", manifest, exists=True),)

    def endpoints(
        self, pod: Manifest, template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        return (endpoint(host=view.shared[0]["metadata"]["annotations"]["address"]),)


def test_the_address_of_a_shared_object_is_read_again(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    metadata = {"name": "gate", "namespace": backend.namespace, "annotations": {"address": FIRST}}
    spec = {"ports": [{"port": 80}]}
    backend.cluster.create(
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    )
    path = object_path("v1", "services", backend.namespace, "gate")

    async def play() -> None:
        async with make(AsyncFleet, backend, exposure=Shared("gate"), ready=3) as fleet:
            await eventually_async(lambda: fleet.statuses()[0].servers[ServerState.READY] == 3)
            assert (await fleet.allocate("match-1", timeout=30)).endpoint.host == FIRST
            moved = {"op": "replace", "path": "/metadata/annotations/address", "value": SECOND}
            await asyncio.to_thread(backend.cluster.patch, path, moved)
            await seen(fleet, "read")
            asked = len(api.seen)
            both = await asyncio.gather(
                *(fleet.allocate(f"match-{number}", timeout=30) for number in (2, 3))
            )
            assert [server.endpoint.host for server in both] == [SECOND, SECOND]
            assert sum(one == f"GET {path}" for one in api.seen[asked:]) == 1  # for both

    asyncio.run(play())


def test_a_fixed_hostport_that_is_taken_is_not_tried_on_other_numbers(
    broken: tuple[FaultyApi, Backend],
) -> None:
    api, backend = broken
    name = backend.cluster.nodes()[0]["metadata"]["name"]
    pool = own_ports(10)
    fixed = {"name": "server", "ports": [{"containerPort": 9, "hostPort": pool.last + 1}]}
    shape = template(
        backend,
        pod={"spec": {"containers": [fixed]}},
        node_selector={"kubernetes.io/hostname": name},
    )
    with make(Fleet, backend, pool, template=shape) as fleet:
        fleet.allocate("match-1", timeout=30)
        with pytest.raises(Exhausted, match=rf"it asks for hostPort \d+, {pool.last + 1};") as full:
            fleet.allocate("match-2", timeout=3)
        assert not isinstance(full.value, PortPoolExhausted)
        assert sum(one.startswith("POST") and one.endswith("/pods") for one in api.seen) == 2
