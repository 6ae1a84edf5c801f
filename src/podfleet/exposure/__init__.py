"""How clients reach a server: one interface, one file for each strategy. No I/O."""

from podfleet.exposure.address import NodeAddress
from podfleet.exposure.headless import HeadlessDNS
from podfleet.exposure.hostport import HostPort
from podfleet.exposure.istio import IstioRoute
from podfleet.exposure.istio_routes import ByHeader, ByHost, ByPath, ByPort, Route
from podfleet.exposure.nodeport import NodePortPerPod
from podfleet.exposure.services import own_service
from podfleet.exposure.strategy import ClusterView, ExposureStrategy, Resource

__all__ = [
    "ByHeader",
    "ByHost",
    "ByPath",
    "ByPort",
    "ClusterView",
    "ExposureStrategy",
    "HeadlessDNS",
    "HostPort",
    "IstioRoute",
    "NodeAddress",
    "NodePortPerPod",
    "Resource",
    "Route",
    "own_service",
]
