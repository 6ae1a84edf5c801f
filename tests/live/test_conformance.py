"""The conformance suite on every strategy of ours."""

from collections.abc import Sequence
from typing import ClassVar

import pytest
from attrs import evolve

from podfleet import (
    ByHost,
    ByPort,
    Endpoint,
    HeadlessDNS,
    HostPort,
    IstioRoute,
    NodePortPerPod,
    Port,
    PortPool,
    StatefulSet,
)
from podfleet.testing import StrategyConformance, TestCluster
from tests.cluster.naming import resolve
from tests.live.arena import ANY_NODE
from tests.live.routes import follow

SERVERS = 30


class TestHostPort(StrategyConformance):
    servers = SERVERS

    def strategy(self) -> HostPort:
        return HostPort(PortPool(26000, 26079), address=ANY_NODE)


class TestNodePortPerPod(StrategyConformance):
    servers = SERVERS
    strategy = NodePortPerPod(address=ANY_NODE)


class TestNodePortPerPodOfAPool(StrategyConformance):
    servers = SERVERS

    def strategy(self) -> NodePortPerPod:
        return NodePortPerPod(PortPool(32000, 32079), address=ANY_NODE)


class TestHeadlessDNS(StrategyConformance):
    servers = SERVERS
    strategy = HeadlessDNS(srv=True)

    def dial(self, endpoint: Endpoint, transport: str) -> str:
        """Dial the address that CoreDNS gives for the name."""
        address = resolve(endpoint.host)
        assert address == endpoint.address
        return super().dial(evolve(endpoint, host=address), transport)


class TestHeadlessDNSOverAStatefulSet(TestHeadlessDNS):
    workload = StatefulSet(replicas=2)


class TestNodePortPerPodOverAStatefulSet(StrategyConformance):
    workload = StatefulSet()
    strategy = NodePortPerPod(address=ANY_NODE)


@pytest.mark.usefixtures("istio_crds")
class _Routed(StrategyConformance):
    """Dials where the routes lead; test_istio.py dials a gateway."""

    ports: ClassVar[Sequence[Port]] = (Port("game", 7777, "TCP"),)

    @pytest.fixture(autouse=True)
    def _reads_routes(self, podfleet_cluster: TestCluster) -> None:
        self.cluster = podfleet_cluster

    def dial(self, endpoint: Endpoint, transport: str) -> str:
        return super().dial(follow(self.cluster, endpoint), transport)


class TestIstioRouteByHost(_Routed):
    servers = SERVERS
    strategy = IstioRoute(ByHost("play.example.com"))


class TestIstioRouteBySni(_Routed):
    def strategy_in(self, namespace: str) -> IstioRoute:
        """Sessions may have one name in two namespaces: each has a domain of its own."""
        return IstioRoute(
            ByHost(f"{namespace}.play.example.com", tls="passthrough"), carries="session"
        )


class TestIstioRouteByPort(_Routed):
    servers = SERVERS
    ports = (Port("game", 7777, "TCP"), Port("admin", 7778, "TCP"))

    def strategy_in(self, namespace: str) -> IstioRoute:
        """Two namespaces may not share a gateway's ports: each has a gateway of its own."""
        return IstioRoute(
            ByPort(PortPool(20000, 20099)),
            selector={"istio": namespace},
            address=f"{namespace}.example.com",
        )
