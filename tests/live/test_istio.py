"""IstioRoute: traffic through Istio's own gateway, and what the cluster says without one."""

import asyncio
import http.client
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from podfleet import (
    ByHeader,
    ByHost,
    ByPath,
    ByPort,
    ConfigurationError,
    Endpoint,
    Fleet,
    FleetServer,
    IstioRoute,
    Port,
    PortPool,
    PortPoolExhausted,
    Route,
)
from podfleet.kube.paths import object_path
from podfleet.testing import TestCluster
from tests.cluster.fixtures import Backend
from tests.cluster.istio import Gateway
from tests.live.arena import eventually, make, over_tcp, template
from tests.live.routes import follow

SERVERS = 5
PORT = 28080  # of the gateway, for what shares one
TIMEOUT = 5


def allocate(backend: Backend, exposure: IstioRoute, port: int) -> tuple[Fleet, list[FleetServer]]:
    env = {"HTTP_PORT": "8080", "TLS_PORT": "8443"}
    settings = template(backend, ports=[Port("game", port, "TCP")], env=env)
    fleet = make(Fleet, backend, template=settings, exposure=exposure)
    return fleet, [fleet.allocate(f"match-{number}", timeout=60) for number in range(SERVERS)]


def over_http(endpoint: Endpoint, gateway: str) -> str:
    """Return the answer to GET: the server's name, and the path that it saw."""
    dialed = http.client.HTTPConnection(gateway, endpoint.port, timeout=TIMEOUT)
    try:
        headers = {"Host": str(endpoint), **endpoint.headers}
        dialed.request("GET", f"{endpoint.path}/join", headers=headers)
        answer = dialed.getresponse()
        if answer.status != 200:
            raise OSError(f"{answer.status} of {endpoint}")
        return answer.read().decode().strip()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        dialed.close()


def over_websocket(endpoint: Endpoint, gateway: str) -> str:
    """Return the answer to a message on /ws."""

    async def ask() -> str:
        url = f"ws://{gateway}:{endpoint.port}{endpoint.path}/ws"
        headers = {"Host": str(endpoint), **endpoint.headers}
        async with (
            ClientSession() as session,
            session.ws_connect(url, headers=headers) as dialed,
        ):
            await dialed.send_str("hello")
            return await dialed.receive_str(timeout=TIMEOUT)

    try:
        return asyncio.run(ask())
    except ClientError as error:
        raise OSError(str(error)) from error


def over_tls(endpoint: Endpoint, gateway: str) -> str:
    """Return the answer to a line inside TLS, which names the host in its handshake."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the test server's certificate is its own
    with (
        socket.create_connection((gateway, endpoint.port), TIMEOUT) as dialed,
        context.wrap_socket(dialed, server_hostname=endpoint.host) as inside,
    ):
        inside.sendall(b"hello\n")
        return inside.makefile().readline().strip()


def answer_of(dial: Callable[[Endpoint, str], str], endpoint: Endpoint, gateway: Gateway) -> str:
    """Return the first answer: a wrong one is not asked again."""

    def ask() -> str:
        try:
            return dial(endpoint, gateway.address)
        except OSError:
            return ""

    return eventually(ask)


@pytest.mark.only("real", "through Istio's own gateway")
@pytest.mark.parametrize(
    "by",
    [ByHost("play.example.com", port=PORT), ByPath(port=PORT), ByHeader(port=PORT)],
    ids=["host", "path", "header"],
)
def test_http_and_websocket_reach_the_right_server(
    backend: Backend, gateway: Gateway, by: ByHost | ByPath | ByHeader
) -> None:
    fleet, servers = allocate(backend, IstioRoute(by, address=gateway.address), 8080)
    with fleet:
        for server in servers:
            assert answer_of(over_http, server.endpoint, gateway) == f"{server.name} /join"
            assert answer_of(over_websocket, server.endpoint, gateway) == f"{server.name} hello"


@pytest.mark.only("real", "through Istio's own gateway")
def test_a_session_is_routed(backend: Backend, gateway: Gateway) -> None:
    exposure = IstioRoute(ByHost("play.example.com", port=PORT), carries="session")
    fleet, servers = allocate(backend, exposure, 8080)
    with fleet:
        for number, server in enumerate(servers):
            assert server.endpoint.host == f"match-{number}.play.example.com"
            assert answer_of(over_http, server.endpoint, gateway) == f"{server.name} /join"


@pytest.mark.only("real", "through Istio's own gateway")
def test_tls_reaches_the_right_server_by_sni(backend: Backend, gateway: Gateway) -> None:
    by = ByHost("play.example.com", port=28443, tls="passthrough")
    fleet, servers = allocate(backend, IstioRoute(by), 8443)
    with fleet:
        for server in servers:
            assert answer_of(over_tls, server.endpoint, gateway) == f"{server.name} hello"


@pytest.mark.only("real", "through Istio's own gateway")
def test_tcp_reaches_the_right_server_by_port(backend: Backend, gateway: Gateway) -> None:
    exposure = IstioRoute(ByPort(PortPool(28100, 28109)), address=gateway.address)
    fleet, servers = allocate(backend, exposure, 7777)
    with fleet:
        for server in servers:
            assert answer_of(lambda one, _: over_tcp(one), server.endpoint, gateway) == (
                f"{server.name} hello"
            )


@pytest.mark.only("real", "through Istio's own gateway")
def test_a_released_server_is_reached_by_nobody(backend: Backend, gateway: Gateway) -> None:
    fleet, servers = allocate(backend, IstioRoute(ByPath(port=PORT), address=gateway.address), 8080)
    with fleet:
        for server in servers:
            answer_of(over_http, server.endpoint, gateway)
        servers[0].release()

        def refused() -> bool:
            try:
                over_http(servers[0].endpoint, gateway.address)
            except OSError as error:
                return "404" in str(error)
            return False

        eventually(refused)
        for server in servers[1:]:
            assert over_http(server.endpoint, gateway.address) == f"{server.name} /join"


def test_the_address_of_a_load_balancer(backend: Backend, istio_crds: None) -> None:
    """Read from its Service, as soon as it has one; the Gateway is somebody else's."""
    own = {"namespace": backend.namespace, "name": "ingress"}
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": "gateway"}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": own, "spec": spec}
    gates = ByPath().gates()
    gateway = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {**own, "name": "public"},
        "spec": {"selector": {"app": "gateway"}, "servers": gates},
    }
    exposure = IstioRoute(
        ByPath(), gateway=f"{backend.namespace}/public", service=f"{backend.namespace}/ingress"
    )
    settings = template(backend, ports=[Port("game", 8080, "TCP")])
    fleet = make(Fleet, backend, template=settings, exposure=exposure)
    with pytest.raises(ConfigurationError, match=r"there is no Gateway .*/public: make it"):
        fleet.start()
    missing = [finding.what for finding in fleet.preflight()]
    assert missing == [
        f"no Gateway {backend.namespace}/public",
        f"no Service {backend.namespace}/ingress",
    ]
    backend.cluster.apply([service, gateway])
    given = {"ingress": [{"ip": "203.0.113.80"}]}
    with fleet, ThreadPoolExecutor(1) as background:
        allocating = background.submit(fleet.allocate, timeout=30)
        eventually(lambda: [server for server in fleet.servers() if server.state.value == "ready"])
        assert not allocating.done()
        backend.cluster.patch(
            f"{object_path('v1', 'services', backend.namespace, 'ingress')}/status",
            {"op": "add", "path": "/status/loadBalancer", "value": given},
        )
        server = allocating.result()
        assert server.endpoint.url("ws", "/ws") == f"ws://203.0.113.80:80/{server.name}/ws"


def test_the_refused_gateway_port_is_left_alone(backend: Backend, istio_crds: None) -> None:
    """Two fleets of a namespace, each with a pool of its own, over one gateway's ports."""
    settings = template(backend, ports=[Port("game", 7777, "TCP")])
    both = []
    for name in ("arena", "duel"):
        exposure = IstioRoute(ByPort(PortPool(28200, 28201)), address="203.0.113.80")
        both.append(make(Fleet, backend, template=settings, exposure=exposure, name=name))
    with both[0] as arena, both[1] as duel:
        ports = {arena.allocate(timeout=30).endpoint.port, duel.allocate(timeout=30).endpoint.port}
        assert ports == {28200, 28201}
        with pytest.raises(PortPoolExhausted, match="others have every free port"):
            duel.allocate(timeout=5)


@pytest.mark.parametrize("by", [ByPath(prefix="/servers"), ByHeader()], ids=["path", "header"])
def test_paths_and_headers_lead_to_their_own_server(
    backend: Backend, istio_crds: None, podfleet_cluster: TestCluster, by: Route
) -> None:
    """As the suite says of hosts and ports: read from the objects, without a gateway."""
    fleet, servers = allocate(backend, IstioRoute(by, address="203.0.113.80"), 7777)
    with fleet:
        for server in servers:
            found = eventually(lambda one=server: follow(podfleet_cluster, one.endpoint))  # type: ignore[misc]
            assert over_tcp(found) == f"{server.name} hello"
        servers[0].release()
        eventually(lambda: leads_nowhere(podfleet_cluster, servers[0].endpoint))


def leads_nowhere(cluster: TestCluster, endpoint: Endpoint) -> bool:
    try:
        follow(cluster, endpoint)
    except OSError:
        return True
    return False


@pytest.mark.parametrize(
    "by",
    [
        ByHost("play.example.com"),
        ByHost("play.example.com", tls="passthrough"),
        ByHost("play.example.com", tls="play-cert", port=8443),
        ByPath("play.example.com", prefix="/servers", tls="play-cert"),
        ByHeader(tls="play-cert"),
        ByPort(PortPool(28300, 28309)),
    ],
    ids=lambda by: f"{type(by).__name__}-{getattr(by, 'tls', None)}",
)
@pytest.mark.only("real", "the embedded cluster stores Istio's objects, and does not check them")
def test_istio_knows_every_field(
    backend: Backend, istio_crds: None, podfleet_cluster: TestCluster, by: Route
) -> None:
    """A field that its definitions do not have is an error, not left out in silence."""
    carries: Any = "server" if isinstance(by, ByPort) else "session"
    exposure = IstioRoute(by, address="203.0.113.80", carries=carries)
    settings = template(backend, ports=[Port("game", 8080, "TCP")])
    fleet = make(Fleet, backend, template=settings, exposure=exposure)
    podfleet_cluster.apply(fleet.manifests(backend.account))
    pod = {
        "metadata": {
            "name": "arena-1",
            "namespace": backend.namespace,
            "labels": {"podfleet.dev/fleet": "arena", "podfleet.dev/server": "arena-1"},
            "annotations": {"podfleet.dev/session": "match-1", "podfleet.dev/ports": "28300"},
        }
    }
    objects = [one.manifest for one in exposure.server_objects(pod, settings)]
    assert len(objects) == (2 if isinstance(by, ByPort) else 3)
    for manifest in objects:
        manifest["metadata"]["namespace"] = backend.namespace
    podfleet_cluster.apply(objects)
