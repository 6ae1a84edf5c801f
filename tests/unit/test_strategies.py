"""What strategies ask for and refuse, without a cluster; and what differs in what it shows."""

from collections.abc import Callable
from typing import Any

import pytest

import podfleet
from podfleet import (
    ByHeader,
    ByHost,
    ByPath,
    ByPort,
    ConfigurationError,
    Endpoint,
    ExposureStrategy,
    Fleet,
    GameServerTemplate,
    HeadlessDNS,
    IstioRoute,
    NodeAddress,
    NodePortPerPod,
    Port,
    PortPool,
    Protocol,
)
from podfleet.exposure import ClusterView
from podfleet.fleet.pool.orphans import Orphans
from podfleet.fleet.shared import differences
from podfleet.fleet.sighting import Sighting
from podfleet.model import Manifest
from podfleet.model.manifest import name_of

untyped: Any = podfleet  # for arguments that mypy would refuse

TCP = GameServerTemplate(image="arena:1", ports=[Port("game", 7777, "TCP")])
BOTH = GameServerTemplate(image="arena:1", ports=[Port("game", 7777, "TCPUDP")])
TWO = GameServerTemplate(
    image="arena:1", ports=[Port("game", 7777, "TCP"), Port("admin", 7778, "TCP")]
)
HOST_NETWORK = GameServerTemplate(
    image="arena:1", ports=[Port("game", 7777, "TCP")], pod={"spec": {"hostNetwork": True}}
)
POD: dict[str, Any] = {
    "metadata": {
        "name": "arena-1",
        "namespace": "games",
        "uid": "1",
        "labels": {"podfleet.dev/fleet": "arena", "podfleet.dev/server": "arena-1"},
    },
    "spec": {"nodeName": "node-a", "hostname": "arena-1", "subdomain": "arena"},
    "status": {"podIP": "10.1.0.7", "hostIPs": [{"ip": "10.0.0.4"}]},
}
SESSION = {"podfleet.dev/session": "match-42"}


def routed(strategy: IstioRoute, template: GameServerTemplate, pod: dict[str, Any]) -> list[Any]:
    """Return the specs of a server's VirtualServices."""
    return [
        one.manifest["spec"]
        for one in strategy.server_objects(pod, template)
        if one.plural == "virtualservices"
    ]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: untyped.HostPort("31000-31999"), "HostPort.pool"),
        (lambda: untyped.HostPort(PortPool(1, 2), address="node"), "HostPort.address"),
        (lambda: untyped.NodePortPerPod(31000), "NodePortPerPod.pool"),
        (lambda: untyped.NodePortPerPod(address="node"), "NodePortPerPod.address"),
        (lambda: untyped.NodePortPerPod(traffic="local"), "NodePortPerPod.traffic"),
        (lambda: untyped.HeadlessDNS(service="Arena"), "HeadlessDNS.service"),
        (
            lambda: untyped.HeadlessDNS(cluster_domain="cluster.local."),
            "HeadlessDNS.cluster_domain",
        ),
        (lambda: untyped.IstioRoute("play.example.com"), "IstioRoute.by"),
        (lambda: untyped.IstioRoute(untyped.ByPath()), "IstioRoute.address"),
        (lambda: untyped.IstioRoute(untyped.ByPort(PortPool(1, 2))), "IstioRoute.address"),
        (lambda: untyped.IstioRoute(untyped.ByPath(), address=" "), "IstioRoute.address"),
        (
            lambda: untyped.IstioRoute(untyped.ByPath(), address="a", service="b/c"),
            "IstioRoute.service",
        ),
        (
            lambda: untyped.IstioRoute(untyped.ByHost("a.b"), service="ingress"),
            "IstioRoute.service",
        ),
        (lambda: untyped.IstioRoute(untyped.ByHost("a.b"), gateway="public"), "IstioRoute.gateway"),
        (
            lambda: untyped.IstioRoute(untyped.ByHost("a.b"), gateway="a/b", selector={}),
            "IstioRoute.selector",
        ),
        (lambda: untyped.IstioRoute(untyped.ByHost("a.b"), carries="match"), "IstioRoute.carries"),
        (
            lambda: untyped.IstioRoute(
                untyped.ByPort(PortPool(1, 2)), address="a", carries="session"
            ),
            "IstioRoute.carries",
        ),
        (lambda: untyped.ByHost("*.example.com"), "IstioRoute.by.domain"),
        (lambda: untyped.ByHost("example.com", port=0), "IstioRoute.by.port"),
        (lambda: untyped.ByHost("example.com", tls="My Secret"), "IstioRoute.by.tls"),
        (lambda: untyped.ByPath(prefix="servers"), "IstioRoute.by.prefix"),
        (lambda: untyped.ByPath(tls="passthrough"), "IstioRoute.by.tls"),
        (lambda: untyped.ByHeader(header="X Server"), "IstioRoute.by.header"),
        (lambda: untyped.ByPort(31400), "IstioRoute.by.numbers"),
    ],
)
def test_wrong_arguments_are_named(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make()
    assert refused.value.field == says


@pytest.mark.parametrize(
    ("strategy", "template", "says"),
    [
        (NodePortPerPod(PortPool(31000, 31000)), TWO, "smaller than the 2 ports"),
        (HeadlessDNS(), HOST_NETWORK, "hostNetwork"),
        (IstioRoute(ByHost("a.b")), BOTH, "do not route UDP"),
        (IstioRoute(ByPort(PortPool(1, 9)), address="a"), BOTH, "do not route UDP"),
        (IstioRoute(ByHost("a.b")), TWO, "tells servers apart, not ports"),
        (IstioRoute(ByPort(PortPool(1, 1)), address="a"), TWO, "smaller than the 2 ports"),
    ],
)
def test_what_a_strategy_cannot_expose_is_refused_at_once(
    strategy: ExposureStrategy, template: GameServerTemplate, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Fleet("arena", template=template, exposure=strategy)


def test_a_node_port_service_is_the_servers_alone() -> None:
    pod = {**POD, "metadata": {**POD["metadata"], "annotations": {"podfleet.dev/ports": "31004"}}}
    strategy = NodePortPerPod(PortPool(31000, 31999))
    (resource,) = strategy.server_objects(pod, BOTH)
    spec = resource.manifest["spec"]
    assert spec["selector"] == {"podfleet.dev/server": "arena-1"}
    assert spec["externalTrafficPolicy"] == "Local"
    assert [(one["protocol"], one["nodePort"]) for one in spec["ports"]] == [
        ("TCP", 31004),
        ("UDP", 31004),
    ]
    assert strategy.held_ports(pod) == (31004,)


def test_a_node_port_endpoint_is_read_back() -> None:
    service = {"spec": {"ports": [{"port": 7777, "protocol": "TCP", "nodePort": 30123}]}}
    strategy = NodePortPerPod(address=NodeAddress(internal=True))
    assert strategy.endpoints(POD, TCP, ClusterView()) is None
    assert strategy.endpoints(POD, TCP, ClusterView(objects=(service,))) == (
        Endpoint("10.0.0.4", 30123, Protocol.TCP, "game"),
    )


def test_a_headless_endpoint_has_name_address_and_srv() -> None:
    (endpoint,) = (
        HeadlessDNS(srv=True, cluster_domain="arena.internal").endpoints(POD, BOTH, ClusterView())
        or ()
    )
    assert str(endpoint) == "arena-1.arena.games.svc.arena.internal:7777"
    assert endpoint.address == "10.1.0.7"
    assert endpoint.srv == "_game-udp._udp.arena.games.svc.arena.internal"
    assert HeadlessDNS().endpoints({**POD, "status": {}}, BOTH, ClusterView()) is None


@pytest.mark.parametrize(
    ("by", "url"),
    [
        (ByHost("play.example.com"), "ws://arena-1.play.example.com:80/ws"),
        (ByHost("play.example.com", tls="passthrough"), "ws://arena-1.play.example.com:443/ws"),
        (ByHost("play.example.com", tls="cert", port=8443), "ws://arena-1.play.example.com:8443/ws"),
        (ByPath(), "ws://203.0.113.7:80/arena-1/ws"),
        (ByPath("play.example.com", prefix="/s/"), "ws://play.example.com:80/s/arena-1/ws"),
        (ByHeader("play.example.com"), "ws://play.example.com:80/ws"),
    ],
)  # fmt: skip
def test_an_istio_endpoint(by: ByHost | ByPath | ByHeader, url: str) -> None:
    strategy = IstioRoute(by, address="203.0.113.7")
    (endpoint,) = strategy.endpoints(POD, TCP, ClusterView(objects=({},))) or ()
    assert endpoint.url("ws", "/ws") == url
    assert endpoint.address == "203.0.113.7"
    assert dict(endpoint.headers) == (
        {"x-game-server": "arena-1"} if isinstance(by, ByHeader) else {}
    )


def test_a_path_does_not_catch_a_longer_name() -> None:
    (spec,) = routed(IstioRoute(ByPath(), address="a"), TCP, POD)
    assert spec["http"][0]["match"] == [
        {"uri": {"prefix": "/arena-1/"}},
        {"uri": {"exact": "/arena-1"}},
    ]


def test_a_session_is_a_second_way_and_then_the_endpoint() -> None:
    strategy = IstioRoute(ByHost("play.example.com"), carries="session")
    claimed = {**POD, "metadata": {**POD["metadata"], "annotations": SESSION}}
    assert [spec["hosts"] for spec in routed(strategy, TCP, POD)] == [["arena-1.play.example.com"]]
    assert [spec["hosts"] for spec in routed(strategy, TCP, claimed)] == [
        ["arena-1.play.example.com"],
        ["match-42.play.example.com"],
    ]
    (endpoint,) = strategy.endpoints(claimed, TCP, ClusterView(objects=({},))) or ()
    assert endpoint.host == "match-42.play.example.com"


@pytest.mark.parametrize("session", ["Zoë & Max", "arena-7xk2mbq9wd", "s-1", "a" * 64, "a.b"])
def test_a_session_that_cannot_be_a_host_is_hashed(session: str) -> None:
    key = ByHost("play.example.com").session_key("arena", session)
    assert key.startswith("s-")
    assert len(key) == 34


def test_one_gate_for_all_or_one_for_each_port() -> None:
    assert len(ByPort(PortPool(31400, 31409, exclude=[31405])).gates()) == 9
    (gate,) = ByHost("play.example.com", tls="cert").gates()
    assert gate["port"] == {"number": 443, "name": "https", "protocol": "HTTPS"}
    assert gate["tls"] == {"mode": "SIMPLE", "credentialName": "cert"}
    assert gate["hosts"] == ["./*.play.example.com"]


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ({"ports": [{"port": 1}]}, {"ports": [{"port": 1, "protocol": "TCP"}]}, []),
        ({"ports": [{"port": 1}]}, {"ports": [{"port": 2}]}, ["spec.ports[0].port is 2, not 1"]),
        ({"ports": [{"port": 1}]}, {}, ["spec.ports is None, not [{'port': 1}]"]),
        ({"selector": {"a": "b"}}, {"selector": {"a": "b", "c": "d"}},
         ["spec.selector is {'a': 'b', 'c': 'd'}, not {'a': 'b'}"]),
    ],
)  # fmt: skip
def test_differences(wanted: dict[str, Any], found: dict[str, Any], expected: list[str]) -> None:
    assert list(differences(wanted, found)) == expected


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def unclaimed(name: str, *, ready: bool, patience: str = "60") -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "labels": {"podfleet.dev/state": "unclaimed", "podfleet.dev/revision": "now"},
            "annotations": {"podfleet.dev/patience": patience},
        },
        "spec": {"containers": []},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def seen(pod: Manifest) -> Sighting:
    return Sighting(name_of(pod), pod)


def test_a_server_is_left_behind_when_its_starter_would_have_come() -> None:
    clock = Clock()
    orphans = Orphans("now", clock)
    orphans.follow(seen(unclaimed("ready", ready=True)))
    orphans.follow(seen(unclaimed("slow", ready=False)))
    orphans.follow(seen(unclaimed("nonsense", ready=False, patience="soon")))
    for passed, adoptable, lost in (
        (4.9, [], []),
        (5.0, ["ready"], ["nonsense", "ready"]),
        (64.9, ["ready"], ["nonsense", "ready"]),
        (65.0, ["ready"], ["nonsense", "ready", "slow"]),
    ):
        clock.now = passed
        assert orphans.adoptable() == adoptable
        assert sorted(filter(orphans.is_lost, orphans.unclaimed(()))) == lost
    claimed = unclaimed("ready", ready=True)
    claimed["metadata"]["labels"]["podfleet.dev/state"] = "allocated"
    orphans.follow(seen(claimed))
    assert orphans.adoptable() == []
    assert not orphans.is_lost("ready")


@pytest.mark.parametrize("probe", [True, "hello", 1, None])
def test_a_probe_that_would_dial_nothing_is_refused(probe: Any) -> None:
    udp = GameServerTemplate(image="arena:1", ports=[Port("game", 7777, "UDP")])
    with pytest.raises(ConfigurationError, match=r"Fleet\.probe"):
        untyped.Fleet("arena", template=udp, exposure=HeadlessDNS(), probe=probe)
