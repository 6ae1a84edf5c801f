"""Three ways of one's own to reach a server, each an `ExposureStrategy` of ten lines or so.

A strategy only answers questions: which objects a server needs, and what clients dial, given what
the cluster shows. podfleet makes the objects, waits, and removes them with the server's Pod.

``python examples/custom_strategy.py`` prints what each would have an administrator apply.
"""

import json
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from podfleet import (
    ClusterView,
    Endpoint,
    ExposureStrategy,
    Fleet,
    GameServerTemplate,
    HostPort,
    NodeAddress,
    Port,
    PortPool,
    Resource,
    Rule,
    own_service,
)


class RouterPorts(HostPort):
    """One machine at home: the router forwards some ports of its public address to it."""

    def __init__(self, public_address: str, forwarded: Mapping[int, int]) -> None:
        ports = sorted(forwarded.values())
        unused = set(range(ports[0], ports[-1] + 1)) - set(ports)
        pool = PortPool(ports[0], ports[-1], exclude=unused)
        super().__init__(pool, address=NodeAddress(fixed=public_address))
        self.public = {port: public for public, port in forwarded.items()}

    def endpoints(
        self, pod: Mapping[str, Any], template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        found = super().endpoints(pod, template, view)
        return found and tuple(evolve(one, port=self.public[one.port]) for one in found)


class LoadBalancerPerServer(ExposureStrategy):
    """A cloud's load balancer for each server: dear and slow to come, but a port of its own."""

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("", ("services",), ("get", "create")),)

    def server_objects(
        self, pod: Mapping[str, Any], template: GameServerTemplate
    ) -> tuple[Resource, ...]:
        spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
        return (own_service(pod, template, spec),)

    def endpoints(
        self, pod: Mapping[str, Any], template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        for service in view.objects:
            for ingress in service["status"].get("loadBalancer", {}).get("ingress", ()):
                host = ingress.get("ip") or ingress["hostname"]
                return tuple(
                    Endpoint(host, port.number, port.protocol, port.name) for port in template.ports
                )
        return None  # not yet: it is asked again


class IngressPerServer(ExposureStrategy):
    """A host of the cluster's Ingress controller for each server: HTTP and WebSocket."""

    def __init__(self, domain: str) -> None:
        self.domain = domain

    def rules(self) -> tuple[Rule, ...]:
        verbs = ("get", "create")
        return (
            Rule("", ("services",), verbs),
            Rule("networking.k8s.io", ("ingresses",), verbs),
        )

    def server_objects(
        self, pod: Mapping[str, Any], template: GameServerTemplate
    ) -> tuple[Resource, ...]:
        service = own_service(pod, template, {})
        metadata = service.manifest["metadata"]
        port = {"number": template.ports[0].number}
        backend = {"service": {"name": metadata["name"], "port": port}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        ingress = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": metadata,
            "spec": {"rules": [{"host": self._host(pod), "http": {"paths": [path]}}]},
        }
        return (service, Resource("ingresses", ingress))

    def endpoints(
        self, pod: Mapping[str, Any], template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        if not view.objects:
            return None
        port = template.ports[0]
        return (Endpoint(self._host(pod), 80, port.protocol, port.name),)

    def _host(self, pod: Mapping[str, Any]) -> str:
        return f"{pod['metadata']['name']}.{self.domain}"


def main() -> None:
    """Print what an administrator applies for a fleet of each."""
    strategies = (
        RouterPorts("203.0.113.7", {40000 + number: 7000 + number for number in range(10)}),
        LoadBalancerPerServer(),
        IngressPerServer("play.example.com"),
    )
    template = GameServerTemplate(image="ghcr.io/acme/arena:1.4", ports=[Port("game", 7777, "TCP")])
    for exposure in strategies:
        fleet = Fleet("arena", template=template, exposure=exposure)
        print(f"# {type(exposure).__name__}")
        for manifest in fleet.manifests("games/backend"):
            print(json.dumps(manifest))


if __name__ == "__main__":
    main()
