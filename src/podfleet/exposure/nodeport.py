"""`NodePortPerPod`: a server is reached at its node's address, through a Service of its own."""

from __future__ import annotations

from typing import Any, Literal

from podfleet.errors import ApiError, ConfigurationError, Invalid, PodfleetError
from podfleet.exposure.address import NodeAddress
from podfleet.exposure.services import numbers_of, own_service, write_numbers
from podfleet.exposure.strategy import ClusterView, ExposureStrategy, Resource
from podfleet.model import Endpoint, GameServerTemplate, Manifest
from podfleet.model.rules import Rule
from podfleet.ports import PortPool

__all__ = ["NodePortPerPod"]

# pkg/registry/core/service/portallocator/allocator.go: ErrAllocated, ErrNotInRange
_TAKEN = "provided port is already allocated"
_OUTSIDE = "provided port is not in the valid range"


class NodePortPerPod(ExposureStrategy):
    """Clients dial the node: ``<node address>:<nodePort>``, by a Service of type NodePort.

    For clusters whose policy forbids hostPorts (Pod Security *baseline* and *restricted* do).
    Each server has a Service of its own, which selects that Pod alone and which the Pod owns:
    the cluster removes it after the Pod. A number is one server's in the whole cluster, so
    there are as many servers as NodePorts: 2,768 by default (30000 to 32767).

    Args:
        pool: The numbers to use, where the firewall opens only a part of the range; by
            default the API server chooses.
        address: At which address clients reach a node; by default only a public one.
        traffic: ``"Local"``: the Pod's own node answers, the client's address is kept, and
            there is no second hop. ``"Cluster"``: every node forwards, and the Pod sees the
            address of the node that did.

    Raises:
        ConfigurationError: An argument is of the wrong kind.

    Example:
        >>> NodePortPerPod(address=NodeAddress(fixed="203.0.113.7")).traffic
        'Local'
    """

    def __init__(
        self,
        pool: PortPool | None = None,
        *,
        address: NodeAddress | None = None,
        traffic: Literal["Local", "Cluster"] = "Local",
    ) -> None:
        if pool is not None and not isinstance(pool, PortPool):
            raise ConfigurationError("NodePortPerPod.pool", pool, "must be a PortPool or None")
        if address is not None and not isinstance(address, NodeAddress):
            raise ConfigurationError("NodePortPerPod.address", address, "must be a NodeAddress")
        if traffic not in ("Local", "Cluster"):
            raise ConfigurationError("NodePortPerPod.traffic", traffic, "must be Local or Cluster")
        self.pool = pool
        self.address = address or NodeAddress()
        self.traffic = traffic
        self.reads_nodes = self.address.reads_nodes

    def __repr__(self) -> str:
        """Return the call that makes this strategy."""
        return (
            f"NodePortPerPod(pool={self.pool!r}, address={self.address!r}, "
            f"traffic={self.traffic!r})"
        )

    def check(self, template: GameServerTemplate) -> None:
        """Refuse a template without ports, or with more than the pool."""
        super().check(template)
        if self.pool is not None and len(template.ports) > len(self.pool):
            raise ConfigurationError(
                "NodePortPerPod.pool",
                self.pool,
                f"is smaller than the {len(template.ports)} ports that one server needs",
            )

    def rules(self) -> tuple[Rule, ...]:
        """Return the rights on Services, and on Nodes unless the addresses are given."""
        services = Rule("", ("services",), ("get", "create"))
        return (services, *self.address.rules())

    def ports_needed(self, template: GameServerTemplate) -> int:
        """Return one number for each port of the template; TCPUDP takes one for both."""
        return len(template.ports) if self.pool is not None else 0

    def shape(
        self, pod: dict[str, Any], template: GameServerTemplate, numbers: tuple[int, ...]
    ) -> None:
        """Write the numbers on the Pod: its Service comes after it."""
        write_numbers(pod, numbers)

    def held_ports(self, pod: Manifest) -> tuple[int, ...]:
        """Return the numbers that its Service uses, or is about to."""
        return numbers_of(pod)

    def server_objects(self, pod: Manifest, template: GameServerTemplate) -> tuple[Resource, ...]:
        """Return the Service."""
        service = own_service(
            pod, template, {"type": "NodePort", "externalTrafficPolicy": self.traffic}
        )
        # Without a number, ports of one Service with one `port` get the same one
        # (pkg/registry/core/service/storage/alloc.go): TCP and UDP of a TCPUDP port.
        numbers = dict(zip((p.number for p in template.ports), numbers_of(pod), strict=False))
        for port in service.manifest["spec"]["ports"]:
            if port["port"] in numbers:
                port["nodePort"] = numbers[port["port"]]
        return (service,)

    def endpoints(
        self, pod: Manifest, template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        """Return the node's address with each port's nodePort, once there are both."""
        host = self.address.of_pod(pod, view.node)
        if host is None or not view.objects:
            return None
        shown = {
            (port["port"], port.get("protocol", "TCP")): port.get("nodePort")
            for port in view.objects[0]["spec"]["ports"]
        }
        endpoints = []
        for port in template.ports:
            number = shown.get((port.number, port.protocol.transports[0]))
            if number:  # a Service of an older template may lack a port that is new
                endpoints.append(Endpoint(host, number, port.protocol, port.name))
        return tuple(endpoints)

    def check_node(self, node: Manifest) -> None:
        """Refuse a node without an address that clients can dial."""
        self.address.of_node(node)

    def refused(self, answer: Manifest | ApiError) -> bool:
        """Return whether somebody else's Service has one of the numbers."""
        return isinstance(answer, Invalid) and _TAKEN in str(answer)

    def failure(self, error: ApiError) -> PodfleetError:
        """Name the pool where the API server refuses its numbers for good."""
        if isinstance(error, Invalid) and _OUTSIDE in str(error):
            return ConfigurationError(
                "NodePortPerPod.pool", self.pool, f"is outside the cluster's range: {error}"
            )
        return error
