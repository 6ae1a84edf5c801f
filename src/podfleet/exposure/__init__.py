"""How clients reach a server: one interface, one file for each strategy. No I/O."""

from podfleet.exposure.address import NodeAddress
from podfleet.exposure.hostport import HostPort
from podfleet.exposure.strategy import ClusterView, ExposureStrategy, Resource

__all__ = ["ClusterView", "ExposureStrategy", "HostPort", "NodeAddress", "Resource"]
