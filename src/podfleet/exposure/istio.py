"""`IstioRoute`: a server is reached through the cluster's Istio gateway, on a route of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from podfleet.errors import AlreadyExists, ApiError, ConfigurationError
from podfleet.exposure.hosts import check_host
from podfleet.exposure.istio_routes import Route
from podfleet.exposure.services import numbers_of, own_service, write_numbers
from podfleet.exposure.strategy import ClusterView, ExposureStrategy, Resource
from podfleet.model import Endpoint, GameServerTemplate, Manifest, names
from podfleet.model.manifest import annotations_of, labels_of, name_of, namespace_of
from podfleet.model.names import (
    check_domain,
    check_node_labels,
    check_reference,
    is_subdomain,
)
from podfleet.model.rules import Rule

__all__ = ["IstioRoute"]

_API = "networking.istio.io/v1"
_GROUP = "networking.istio.io"
_LONGEST_GATE = 200  # characters: with a number it is an object's name


class IstioRoute(ExposureStrategy):
    """Clients dial an Istio gateway, which leads each to its own server.

    For HTTP, WebSocket, TLS and raw TCP where the nodes have no public addresses, or where one
    address and one certificate must do. Not for UDP, which Istio's gateways do not route. Each
    server has a Service and a VirtualService, which its Pod owns.

    Args:
        by: What the gateway tells servers apart by: `ByHost`, `ByPath`, `ByHeader` or `ByPort`.
        gateway: An existing Gateway, ``"namespace/name"``. By default the fleet has one of its
            own, named like it, among its shared objects.
        selector: The labels of the gateway's Pods, for the fleet's own Gateway; by default
            those of Istio's installation, ``{"istio": "ingressgateway"}``.
        address: The gateway's address: an IP address or a DNS name.
        service: Read the address from this Service's load balancer instead:
            ``"istio-system/istio-ingressgateway"``.
        carries: ``"session"``: an allocated server can also be reached by its session's id in
            the place of its name, and that is its endpoint.
        cluster_domain: The cluster's DNS domain.

    Raises:
        ConfigurationError: A wrong argument, or no address where clients need one.

    Example:
        >>> from podfleet import ByHost
        >>> IstioRoute(ByHost("play.example.com"), address="203.0.113.7").by.domain
        'play.example.com'
    """

    def __init__(
        self,
        by: Route,
        *,
        gateway: str | None = None,
        selector: Mapping[str, str] | None = None,
        address: str | None = None,
        service: str | None = None,
        carries: Literal["server", "session"] = "server",
        cluster_domain: str = "cluster.local",
    ) -> None:
        if not isinstance(by, Route):
            raise ConfigurationError(
                "IstioRoute.by",
                by,
                "must be ByHost(...), ByPath(...), ByHeader(...) or ByPort(...)",
            )
        if carries not in ("server", "session"):
            raise ConfigurationError("IstioRoute.carries", carries, "must be server or session")
        if carries == "session" and by.pool is not None:
            raise ConfigurationError(
                "IstioRoute.carries", carries, "a TCP port carries no name: leave it out"
            )
        if gateway is not None and selector is not None:
            raise ConfigurationError(
                "IstioRoute.selector", selector, f"Gateway {gateway} has one: leave it out"
            )
        if address is not None and service is not None:
            raise ConfigurationError("IstioRoute.service", service, "an address is given already")
        if address is None and service is None and by.public_host is None:
            raise ConfigurationError(
                "IstioRoute.address",
                None,
                "clients need one: pass the gateway's address, or service= to read it from",
            )
        if address is not None:
            check_host("IstioRoute.address", address)
        self.by = by
        self.gateway = _reference("IstioRoute.gateway", gateway)
        self.selector = check_node_labels(
            "IstioRoute.selector", {"istio": "ingressgateway"} if selector is None else selector
        )
        if not self.selector:
            raise ConfigurationError(
                "IstioRoute.selector", selector, "would choose every Pod: name a label"
            )
        check_domain("IstioRoute.cluster_domain", cluster_domain, "cluster.local")
        self.address = address
        self.service = _reference("IstioRoute.service", service)
        self.carries = carries
        self.cluster_domain = cluster_domain
        self.pool = by.pool
        self.reads_shared = service is not None

    def __repr__(self) -> str:
        """Return the call that makes this strategy."""
        return f"IstioRoute({self.by!r})"

    def check(self, template: GameServerTemplate) -> None:
        """Refuse UDP, and more ports than the gateway can tell apart."""
        super().check(template)
        for port in template.ports:
            if "UDP" in port.protocol.transports:
                raise ConfigurationError(
                    "GameServerTemplate.ports",
                    port.name,
                    "Istio's gateways do not route UDP (their listeners are TCP): use HostPort "
                    "or NodePortPerPod for it",
                )
        if self.pool is None and len(template.ports) > 1:
            raise ConfigurationError(
                "GameServerTemplate.ports",
                ", ".join(port.name for port in template.ports),
                f"{type(self.by).__name__} tells servers apart, not ports: expose one of them, and "
                "declare the others in pod=; or use ByPort",
            )
        if self.pool is not None and len(template.ports) > len(self.pool):
            raise ConfigurationError(
                "IstioRoute.by.numbers",
                self.pool,
                f"is smaller than the {len(template.ports)} ports that one server needs",
            )

    def rules(self) -> tuple[Rule, ...]:
        """Return the rights on Services and VirtualServices."""
        verbs = ("get", "create")
        return (Rule("", ("services",), verbs), Rule(_GROUP, ("virtualservices",), verbs))

    def apis(self) -> tuple[str, ...]:
        """Return Istio's."""
        return (_API,)

    def shared_objects(self, fleet: str, template: GameServerTemplate) -> tuple[Resource, ...]:
        """Return the Gateway, and the Service that the address is read from."""
        shared = []
        if self.gateway is not None:
            namespace, name = self.gateway
            metadata: dict[str, Any] = {"namespace": namespace, "name": name}
            shared.append(Resource("gateways", _manifest("Gateway", metadata, {}), exists=True))
        else:
            metadata = {"name": fleet, "labels": {names.FLEET: fleet}}
            spec = {"selector": self.selector, "servers": self.by.gates()}
            shared.append(Resource("gateways", _manifest("Gateway", metadata, spec)))
        if self.service is not None:
            namespace, name = self.service
            service = {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"namespace": namespace, "name": name},
                "spec": {},
            }
            shared.append(Resource("services", service, exists=True))
        return tuple(shared)

    def ports_needed(self, template: GameServerTemplate) -> int:
        """Return one number for each port, where servers are told apart by ports."""
        return len(template.ports) if self.pool is not None else 0

    def shape(
        self, pod: dict[str, Any], template: GameServerTemplate, numbers: tuple[int, ...]
    ) -> None:
        """Write the numbers on the Pod: its routes come after it."""
        write_numbers(pod, numbers)

    def held_ports(self, pod: Manifest) -> tuple[int, ...]:
        """Return the gateway's ports that lead to this Pod, or are about to."""
        return numbers_of(pod)

    def server_objects(self, pod: Manifest, template: GameServerTemplate) -> tuple[Resource, ...]:
        """Return the Service, and a VirtualService for each way that leads to the server."""
        service = own_service(pod, template, {})
        for port in service.manifest["spec"]["ports"]:
            port["appProtocol"] = self.by.protocol
        routes = []
        for port, number in self._numbered(pod, template):
            host = f"{name_of(pod)}.{namespace_of(pod)}.svc.{self.cluster_domain}"
            target = {"destination": {"host": host, "port": {"number": port.number}}}
            for key, name in self._keys(pod, number):
                spec = {
                    "hosts": self.by.hosts(key),
                    "gateways": [self._gateway_of(pod)],
                    **self.by.rules(key, number, target),
                }
                metadata = {"name": name, "labels": dict(service.manifest["metadata"]["labels"])}
                manifest = _manifest("VirtualService", metadata, spec)
                routes.append(Resource("virtualservices", manifest))
        return (service, *routes)

    def endpoints(
        self, pod: Manifest, template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        """Return what leads to this server through the gateway, once the routes are there."""
        address = self.address
        if self.service is not None:
            address = _ingress(view.shared[-1])
        if not view.objects or (address is None and self.by.public_host is None):
            return None
        return tuple(
            self.by.endpoint(port, self._keys(pod, number)[-1][0], number, address)
            for port, number in self._numbered(pod, template)
        )

    def refused(self, answer: Manifest | ApiError) -> bool:
        """Return whether another server of the namespace has one of the gateway's ports."""
        return self.pool is not None and isinstance(answer, AlreadyExists)

    def _numbered(
        self, pod: Manifest, template: GameServerTemplate
    ) -> list[tuple[Any, int | None]]:
        if self.pool is None:
            return [(port, None) for port in template.ports]
        return list(zip(template.ports, numbers_of(pod), strict=False))

    def _keys(self, pod: Manifest, number: int | None) -> list[tuple[str, str]]:
        """Return the keys of a server, with the names of their VirtualServices."""
        server = name_of(pod)
        if number is not None:
            # Named after the number: of two that want it, the API server refuses the second.
            return [(server, f"{self._gate}-{number}")]
        keys = [(server, server)]
        session = annotations_of(pod).get(names.SESSION)
        if self.carries == "session" and session is not None:
            fleet = labels_of(pod).get(names.FLEET, server)
            key = self.by.session_key(fleet, session)
            # Named after the session: the next server for it waits until the last one is gone.
            keys.append((key, f"{fleet}.{key}"))
        return keys

    @property
    def _gate(self) -> str:
        """A name for the gateway's Pods: what a label may hold, an object's name may not."""
        gate = "-".join(self.gateway or self.selector.values())
        if is_subdomain(gate) and len(gate) <= _LONGEST_GATE:
            return gate
        return f"gate-{hashlib.sha256(gate.encode()).hexdigest()[:16]}"

    def _gateway_of(self, pod: Manifest) -> str:
        if self.gateway is not None:
            return "/".join(self.gateway)
        return f"{namespace_of(pod)}/{labels_of(pod)[names.FLEET]}"


def _manifest(kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec}


def _reference(field: str, value: str | None) -> tuple[str, str] | None:
    if value is None:
        return None
    return check_reference(field, value)


def _ingress(service: Manifest) -> str | None:
    """Return what a Service's load balancer is reached at; ``None`` until it has an address."""
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    for one in balancer.get("ingress") or []:
        if address := one.get("ip") or one.get("hostname"):
            return str(address)
    return None
