"""The conformance suite on every strategy of ours."""

from attrs import evolve

from podfleet import Endpoint, HeadlessDNS, HostPort, NodePortPerPod, PortPool
from podfleet.testing import StrategyConformance
from tests.live.arena import ANY_NODE
from tests.live.naming import resolve

SERVERS = 30


class TestHostPort(StrategyConformance):
    servers = SERVERS

    def strategy(self) -> HostPort:
        return HostPort(PortPool(31000, 31079), address=ANY_NODE)


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
