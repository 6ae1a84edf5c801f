"""`HeadlessDNS`: a server is reached inside the cluster, by a stable name of its own."""

from __future__ import annotations

from typing import Any

from podfleet.errors import ConfigurationError
from podfleet.exposure.strategy import ClusterView, ExposureStrategy, Resource
from podfleet.model import Endpoint, GameServerTemplate, Manifest, Port, names
from podfleet.model.manifest import name_of, namespace_of
from podfleet.model.names import check_dns_label, check_domain
from podfleet.model.plain import check_flag

__all__ = ["HeadlessDNS"]


class HeadlessDNS(ExposureStrategy):
    """Clients in the cluster dial ``<server>.<fleet>.<namespace>.svc.<cluster domain>``.

    For clients that run in the same cluster, or reach its network by a VPN or a gateway. One
    headless Service (``clusterIP: None``) for the whole fleet, named like it; a Pod with
    ``hostname`` and ``subdomain`` gets a DNS name of its own
    (kubernetes.io, DNS for Services and Pods). No port is taken anywhere.

    ``endpoint.address`` is the Pod's IP, for callers that do not want to wait for DNS.

    Args:
        service: An existing headless Service to use instead; its selector must choose the
            fleet's Pods.
        cluster_domain: The cluster's DNS domain.
        publish_not_ready: A name resolves as soon as its Pod has an address. Otherwise only
            while the Pod is ready; a client that asks too early may then be told "no such
            name" for as long as its resolver remembers that (CoreDNS: up to 30 seconds).
        srv: Declare the template's ports on the Service, and name the SRV record in
            ``endpoint.srv``: ``_game._udp.<fleet>...`` lists every server with its port.
        resolve: Hand a server out only when its name resolves where this backend runs. Leave
            it off outside the cluster.

    Raises:
        ConfigurationError: A name that Kubernetes would refuse.

    Example:
        >>> HeadlessDNS(cluster_domain="arena.internal").cluster_domain
        'arena.internal'
    """

    def __init__(
        self,
        *,
        service: str | None = None,
        cluster_domain: str = "cluster.local",
        publish_not_ready: bool = True,
        srv: bool = False,
        resolve: bool = False,
    ) -> None:
        if service is not None:
            check_dns_label("HeadlessDNS.service", service)
        check_domain("HeadlessDNS.cluster_domain", cluster_domain, "cluster.local")
        check_flag("HeadlessDNS.publish_not_ready", publish_not_ready)
        check_flag("HeadlessDNS.srv", srv)
        check_flag("HeadlessDNS.resolve", resolve)
        self.service = service
        self.cluster_domain = cluster_domain
        self.publish_not_ready = publish_not_ready
        self.srv = srv
        self.resolves = resolve
        self.reads_shared = False  # the names follow from the Pod

    def __repr__(self) -> str:
        """Return the call that makes this strategy."""
        return f"HeadlessDNS(service={self.service!r}, cluster_domain={self.cluster_domain!r})"

    def check(self, template: GameServerTemplate) -> None:
        """Refuse a template without ports, or on the host's network."""
        super().check(template)
        spec = template.to_pod()["spec"]
        if spec.get("hostNetwork"):
            raise ConfigurationError(
                "GameServerTemplate.pod",
                "hostNetwork: true",
                "two servers of one node would have one address: leave hostNetwork out",
            )

    def shared_objects(self, fleet: str, template: GameServerTemplate) -> tuple[Resource, ...]:
        """Return the headless Service."""
        headless: dict[str, Any] = {"clusterIP": "None"}
        if self.service is None:
            headless |= {
                "selector": {names.FLEET: fleet},
                "publishNotReadyAddresses": self.publish_not_ready,
                "ipFamilyPolicy": "PreferDualStack",
            }
        if self.service is None and self.srv:
            headless["ports"] = [
                {"name": name, "port": port.number, "protocol": transport}
                for port in template.ports
                for transport, name in port.container_names.items()
            ]
        manifest = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.service or fleet, "labels": {names.FLEET: fleet}},
            "spec": headless,
        }
        return (Resource("services", manifest, exists=self.service is not None),)

    def shape(
        self, pod: dict[str, Any], template: GameServerTemplate, numbers: tuple[int, ...]
    ) -> None:
        """Give the Pod its stable name; a StatefulSet's Pods get theirs from the StatefulSet."""
        pod["spec"]["subdomain"] = self.service or pod["metadata"]["labels"][names.FLEET]
        if pod["metadata"].get("name"):
            pod["spec"]["hostname"] = name_of(pod)

    def endpoints(
        self, pod: Manifest, template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        """Return the stable name with each port, once the Pod has an address."""
        address = (pod.get("status") or {}).get("podIP")
        hostname, subdomain = pod["spec"].get("hostname"), pod["spec"].get("subdomain")
        if not address or not hostname or not subdomain:
            return None
        domain = f"{subdomain}.{namespace_of(pod)}.svc.{self.cluster_domain}"
        return tuple(
            Endpoint(
                f"{hostname}.{domain}",
                port.number,
                port.protocol,
                port.name,
                address=address,
                srv=f"{_srv(port)}.{domain}" if self.srv else None,
            )
            for port in template.ports
        )


def _srv(port: Port) -> str:
    """Return the labels of a port's SRV record: UDP where it has both."""
    transport = port.protocol.transports[-1]
    return f"_{port.container_names[transport]}._{transport.lower()}"
