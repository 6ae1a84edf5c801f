"""`HostPort`: a server is reached at its node's address, on a port of the node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from podfleet.errors import ApiError, ConfigurationError
from podfleet.exposure.address import NodeAddress
from podfleet.exposure.strategy import ClusterView, ExposureStrategy
from podfleet.model import Endpoint, GameServerTemplate, Manifest, Port
from podfleet.model.rules import Rule
from podfleet.ports import PortPool

__all__ = ["HostPort"]

# pkg/scheduler/framework/plugins/nodeports/node_ports.go: ErrReason
_NO_FREE_PORTS = "free ports for the requested pod ports"


class HostPort(ExposureStrategy):
    """Clients dial the node: ``<node address>:<hostPort>``.

    No load balancer, no Service and no second hop: the client's address is kept, and a packet
    goes straight to the Pod. Needs a firewall that lets the pool's range through to the nodes.
    A number may serve one server on *each* node, so a pool carries ports x nodes servers.

    The scheduler keeps two Pods with one hostPort off the same node; what else listens there
    (a Pod of somebody else, rejected by the kubelet with reason ``NodePorts``) makes the fleet
    choose another number.

    Args:
        pool: The numbers to use. Fleets of one process may share a pool.
        address: At which address clients reach a node; by default only a public one.

    Raises:
        ConfigurationError: ``pool`` or ``address`` is of the wrong kind.

    Example:
        >>> HostPort(PortPool(31000, 31999), address=NodeAddress(fixed="203.0.113.7")).pool
        PortPool(31000, 31999)
    """

    shares_ports = True

    def __init__(self, pool: PortPool, *, address: NodeAddress | None = None) -> None:
        if not isinstance(pool, PortPool):
            raise ConfigurationError("HostPort.pool", pool, "must be a PortPool")
        if address is not None and not isinstance(address, NodeAddress):
            raise ConfigurationError("HostPort.address", address, "must be a NodeAddress")
        self.pool = pool
        self.address = address or NodeAddress()
        self.reads_nodes = self.address.reads_nodes

    def __repr__(self) -> str:
        """Return the call that makes this strategy."""
        return f"HostPort({self.pool!r}, address={self.address!r})"

    def check(self, template: GameServerTemplate) -> None:
        """Refuse a template without ports, with more than the pool, or on the host's network."""
        assert self.pool is not None
        super().check(template)
        if len(template.ports) > len(self.pool):
            raise ConfigurationError(
                "HostPort.pool",
                self.pool,
                f"is smaller than the {len(template.ports)} ports that one server needs",
            )
        if template.to_pod()["spec"].get("hostNetwork"):
            raise ConfigurationError(
                "GameServerTemplate.pod",
                "hostNetwork: true",
                "on the host's network a hostPort must equal the container's port, "
                "so HostPort cannot choose one: leave hostNetwork out",
            )
        for number in self._fixed_ports(template):
            if number in self.pool:
                raise ConfigurationError(
                    "GameServerTemplate.pod",
                    f"hostPort: {number}",
                    f"is in the pool {self.pool!r}, whose numbers podfleet gives to servers: take "
                    "it out of the pool, or out of the template",
                )

    def rules(self) -> tuple[Rule, ...]:
        """Return the right to read Nodes, unless the addresses are given."""
        return self.address.rules()

    def ports_needed(self, template: GameServerTemplate) -> int:
        """Return one number for each port of the template; TCPUDP takes one for both."""
        return len(template.ports)

    def shape(
        self, pod: dict[str, Any], template: GameServerTemplate, numbers: tuple[int, ...]
    ) -> None:
        """Set each exposed container port's ``hostPort``."""
        chosen = {
            (port.number, transport): number
            for port, number in zip(template.ports, numbers, strict=True)
            for transport in port.protocol.transports
        }
        for port in _container_ports(pod):
            number = chosen.get((port["containerPort"], port.get("protocol", "TCP")))
            if number is not None:
                port["hostPort"] = number

    def held_ports(self, pod: Manifest) -> tuple[int, ...]:
        """Return every hostPort of the Pod; even if it has ended.

        The scheduler gives the number away as soon as the Pod's phase is final, but the node
        forwards it until the Pod's sandbox is gone.
        """
        return tuple(
            sorted({port["hostPort"] for port in _container_ports(pod) if port.get("hostPort")})
        )

    def endpoints(
        self, pod: Manifest, template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        """Return the node's address with each port's hostPort, once the Pod has a node."""
        host = self.address.of_pod(pod, view.node)
        if host is None:
            return None
        shown = {
            (port["containerPort"], port.get("protocol", "TCP")): port.get("hostPort")
            for port in _container_ports(pod)
        }
        endpoints = []
        for port in template.ports:
            number = shown.get((port.number, port.protocol.transports[0]))
            if number:  # a Pod of an older template may lack a port that is new
                endpoints.append(Endpoint(host, number, port.protocol, port.name))
        return tuple(endpoints)

    def lacks(self, pod: Manifest, port: Port) -> str | None:
        """Return that the Pod has no hostPort for it, if so: it never gets one."""
        for shown in _container_ports(pod):
            transport = shown.get("protocol", "TCP")
            mine = (shown.get("containerPort"), transport) == (
                port.number,
                port.protocol.transports[0],
            )
            if mine and shown.get("hostPort"):
                return None
        return f"its Pod has no hostPort for port {port.name!r}"

    def check_node(self, node: Manifest) -> None:
        """Refuse a node without an address that clients can dial."""
        self.address.of_node(node)

    def refused(self, answer: Manifest | ApiError) -> bool:
        """Return whether the scheduler or the kubelet found a number of the pool taken.

        Neither says which number it was, so a Pod with a hostPort of its own beside them counts
        as not refused.
        """
        assert self.pool is not None
        if isinstance(answer, ApiError):
            return False
        if len({number in self.pool for number in _host_ports(answer)}) > 1:
            return False  # a fixed one may be what is taken: another number does not help then
        status = answer.get("status") or {}
        if status.get("phase") == "Failed":
            # pkg/kubelet/lifecycle/predicate.go: the reason is the failed plugin's name
            return status.get("reason") == "NodePorts"
        return any(
            condition.get("type") == "PodScheduled"
            and condition.get("status") == "False"
            and _NO_FREE_PORTS in condition.get("message", "")
            for condition in status.get("conditions") or []
        )

    def _fixed_ports(self, template: GameServerTemplate) -> list[int]:
        """Return the hostPorts that the template itself holds, beside those that `shape` writes."""
        pod = template.to_pod()
        self.shape(pod, template, (0,) * len(template.ports))
        return _host_ports(pod)


def _host_ports(pod: Manifest) -> list[int]:
    return [port["hostPort"] for port in _container_ports(pod) if port.get("hostPort")]


def _container_ports(pod: Manifest) -> Iterator[dict[str, Any]]:
    """Yield the ports of what runs as long as the server: native sidecars stand beside it."""
    spec = pod.get("spec") or {}
    sidecars = [
        one for one in spec.get("initContainers") or [] if one.get("restartPolicy") == "Always"
    ]
    for container in (*(spec.get("containers") or []), *sidecars):
        yield from container.get("ports") or []
