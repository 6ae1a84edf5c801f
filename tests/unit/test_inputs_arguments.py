"""Arguments of another type: taken as Kubernetes takes them, or refused with their name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podfleet import (
    AsyncFleet,
    AsyncFleetGroup,
    Buffer,
    ByHeader,
    ByHost,
    ByPath,
    ByPort,
    Chain,
    Cluster,
    ConfigurationError,
    Endpoint,
    Fleet,
    FleetGroup,
    GameServerTemplate,
    HeadlessDNS,
    IstioRoute,
    Port,
    PortPool,
    Protocol,
    Resource,
    Rule,
    Schedule,
    StatefulSet,
    tender_deployment,
)
from podfleet.local import LocalCluster, Node

TEMPLATE = GameServerTemplate(image="arena:1", ports=[Port("game", 7777)])
GROUPED = AsyncFleet("arena", template=TEMPLATE, exposure=HeadlessDNS())


def tended(references: Any, **other: Any) -> Any:
    given = {"image": "b:1", "namespace": "games", "service_account": "games/a", **other}
    return tender_deployment("arena", references, **given)


def route(**given: Any) -> IstioRoute:
    return IstioRoute(ByHost("play.example.com"), **given)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: tended("game"), "tender_deployment.references"),
        (lambda: tended([]), "tender_deployment.references"),
        (lambda: tended(["--help"]), "tender_deployment.references"),
        (lambda: tended([5]), "tender_deployment.references"),
        (lambda: tended({"game:fleet": 1}), "tender_deployment.references"),
        (lambda: tended("game:fleet", image=5), "tender_deployment.image"),
        (lambda: tended("game:fleet", port="9102"), "tender_deployment.port"),
        (lambda: tended("game:fleet", service_account=5), "service_account"),
        (lambda: tended("game:fleet", service_account="games/A b"), "service_account"),
        (lambda: AsyncFleetGroup("group", "arena"), "FleetGroup.fleets"),  # type: ignore[arg-type]
        (lambda: AsyncFleetGroup("group", None), "FleetGroup.fleets"),  # type: ignore[arg-type]
        (lambda: FleetGroup("group", 5), "FleetGroup.fleets"),  # type: ignore[arg-type]
        (lambda: AsyncFleetGroup("group", [GROUPED], weights=1), "FleetGroup.weights"),  # type: ignore[arg-type]
        (lambda: AsyncFleetGroup("group", [GROUPED], weights=[10**400]), "FleetGroup.weights"),
        (lambda: PortPool(1, 2, exclude="12"), "PortPool.exclude"),  # type: ignore[arg-type]
        (lambda: PortPool(1, 2, exclude=31001), "PortPool.exclude"),  # type: ignore[arg-type]
        (lambda: PortPool(1, 2).hold("12", "a"), "PortPool.hold.ports"),  # type: ignore[arg-type]
        (lambda: PortPool(1, 2).release(["1"], "a"), "PortPool.release.ports"),  # type: ignore[list-item]
        (lambda: PortPool(1, 2).acquire(holder=[]), "PortPool.acquire.holder"),  # type: ignore[arg-type]
        (lambda: HeadlessDNS(srv="yes"), "HeadlessDNS.srv"),  # type: ignore[arg-type]
        (lambda: HeadlessDNS(resolve=1), "HeadlessDNS.resolve"),  # type: ignore[arg-type]
        (lambda: HeadlessDNS(cluster_domain="a." * 200 + "a"), "HeadlessDNS.cluster_domain"),
        (lambda: route(selector="istio"), "IstioRoute.selector"),
        (lambda: route(selector={}), "IstioRoute.selector"),
        (lambda: route(selector={"istio": "a b"}), "IstioRoute.selector['istio']"),
        (lambda: route(gateway="gateway"), "IstioRoute.gateway"),
        (lambda: route(gateway=("a", "b")), "IstioRoute.gateway"),
        (lambda: route(cluster_domain=None), "IstioRoute.cluster_domain"),
        (lambda: ByHost(None), "IstioRoute.by.domain"),  # type: ignore[arg-type]
        (lambda: ByHost("*.example.com"), "IstioRoute.by.domain"),
        (lambda: ByHost("a" * 64 + ".com"), "IstioRoute.by.domain"),
        (lambda: ByPath("Play.example.com"), "IstioRoute.by.host"),
        (lambda: ByPath(prefix="/a b"), "IstioRoute.by.prefix"),
        (lambda: ByPath(prefix="/" + "a" * 5000), "IstioRoute.by.prefix"),
        (lambda: ByHeader(header="X-Server"), "IstioRoute.by.header"),
        (lambda: ByPort(31000), "IstioRoute.by.numbers"),  # type: ignore[arg-type]
        (lambda: Chain(5), "Chain.policies"),  # type: ignore[arg-type]
        (lambda: Chain("5"), "Chain.policies"),  # type: ignore[arg-type]
        (lambda: Schedule(5, zone="UTC"), "Schedule.windows"),  # type: ignore[arg-type]
        (lambda: Buffer(2**31), "Buffer.ready"),
        (lambda: StatefulSet(replicas=10**5000), "StatefulSet.replicas"),
        (lambda: StatefulSet(adopt="no"), "StatefulSet.adopt"),  # type: ignore[arg-type]
        (lambda: Cluster(kubeconfig=5), "Cluster.kubeconfig"),  # type: ignore[arg-type]
        (lambda: Cluster(kubeconfig=""), "Cluster.kubeconfig"),
        (lambda: Cluster(context=""), "Cluster.context"),
        (lambda: Cluster(in_cluster=[]), "Cluster.in_cluster"),  # type: ignore[arg-type]
        (lambda: Cluster(namespace="Games"), "Cluster.namespace"),
        (lambda: Cluster(timeout=0), "Cluster.timeout"),
        (lambda: Cluster(timeout=math.inf), "Cluster.timeout"),
        (lambda: Cluster(timeout=True), "Cluster.timeout"),
        (lambda: Cluster(timeout="5"), "Cluster.timeout"),  # type: ignore[arg-type]
        (lambda: Endpoint(5, 1, Protocol.UDP, "a"), "Endpoint.host"),  # type: ignore[arg-type]
        (lambda: Endpoint("a", 0, Protocol.UDP, "a"), "Endpoint.port"),
        (lambda: Endpoint("a", 1, "UDP", "a"), "Endpoint.protocol"),  # type: ignore[arg-type]
        (lambda: Endpoint("a", 1, Protocol.UDP, "a").url("ws", 5), "Endpoint.url.path"),  # type: ignore[arg-type]
        (lambda: Endpoint("a", 1, Protocol.UDP, "a", headers=5), "Endpoint.headers"),  # type: ignore[arg-type]
        (lambda: Rule("", "pods", ("get",)), "Rule.resources"),
        (lambda: Rule("", ("pods",), "get"), "Rule.verbs"),
        (lambda: Rule(None, ("pods",), ("get",)), "Rule.group"),  # type: ignore[arg-type]
        (lambda: Resource("services", None), "Resource.manifest.apiVersion"),  # type: ignore[arg-type]
        (lambda: Resource("../pods", {}), "Resource.plural"),
        (
            lambda: Resource("services", {"apiVersion": "v1", "kind": "S", "metadata": None}),
            "Resource.manifest.metadata.name",
        ),
        (lambda: Node(taints="gpu"), "Node.taints"),  # type: ignore[arg-type]
        (lambda: Node(labels=["a"]), "Node.labels"),  # type: ignore[arg-type]
        (lambda: Node(name=None), "Node.name"),  # type: ignore[arg-type]
        (lambda: Node(cpu="lots"), "Node.cpu"),
        (lambda: LocalCluster(nodes="local"), "LocalCluster.nodes"),  # type: ignore[arg-type]
        (lambda: LocalCluster(["arena:1"]), "LocalCluster.images"),  # type: ignore[arg-type]
        (lambda: LocalCluster(node_ports=(2, 1)), "LocalCluster.node_ports"),
    ],
)
def test_a_wrong_argument_is_named(make: Callable[[], object], field: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make()
    assert refused.value.field.startswith(field)


def test_one_reference_is_one_fleet() -> None:
    for references in ("game:fleet", ["game:fleet"], iter(["game:fleet"])):
        (container,) = tended(references)["spec"]["template"]["spec"]["containers"]
        assert container["command"][:4] == ["podfleet", "run", "game:fleet", "--namespace"]


def test_names_that_kubernetes_allows_are_taken() -> None:
    assert route(gateway="2nd/gate.way").gateway == ("2nd", "gate.way")
    assert tended("game:fleet", service_account="2nd/a.b")["metadata"]["namespace"] == "2nd"
    assert Cluster(kubeconfig=Path("config"), context="kind-é", namespace="2nd").namespace == "2nd"


def test_a_route_is_named_after_labels_that_no_name_can_hold() -> None:
    exposure = IstioRoute(
        ByPort(PortPool(31000, 31009)),
        selector={"app": "Gateway_A", "x": ""},
        address="203.0.113.7",
    )
    template = GameServerTemplate(image="arena:1", ports=[Port("game", 7777, "TCP")])
    fleet = AsyncFleet("arena", template=template, exposure=exposure)
    pod = fleet.spec.pod("games", "arena-1", (31000,))
    (name,) = {
        one.manifest["metadata"]["name"]
        for one in exposure.server_objects(pod, template)
        if one.plural == "virtualservices"
    }
    assert re.fullmatch("gate-[0-9a-f]{16}-31000", name)


def test_manifests_refuse_an_account_that_is_none() -> None:
    fleet = Fleet("arena", template=TEMPLATE, exposure=HeadlessDNS())
    for account in (5, "games", "games/", "/a", ["games/a"], "games/a/b"):
        with pytest.raises(ConfigurationError, match="service_account"):
            fleet.manifests(account)  # type: ignore[arg-type]
