"""`Names`: what the cluster's DNS answers. Pure.

From https://github.com/kubernetes/dns/blob/master/docs/specification.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from podfleet.local.controllers.endpoints import target_port
from podfleet.local.objects.kinds import ENDPOINT_SLICE, SERVICE
from podfleet.local.objects.store import Store
from podfleet.model import Manifest

__all__ = ["Names", "Target"]

Target = tuple[str, int]
"""A host's name and a port, of an SRV record."""


@frozen
class Names:
    """Reads names from the cluster's objects.

    Args:
        store: The objects.
        domain: The cluster's.
    """

    store: Store
    domain: str = "cluster.local"

    def addresses(self, name: str) -> list[str]:
        """Return the addresses of a name, none if there is no such name."""
        *hosts, service, namespace = self._parts(name) or ["", "", ""]
        found = self.store.get(SERVICE, (namespace, service))
        if found is None or len(hosts) > 1:
            return []
        if not hosts and found["spec"].get("clusterIP") not in (None, "None"):
            return [found["spec"]["clusterIP"]]
        return [
            one["addresses"][0]
            for one in self._endpoints(namespace, service)
            if not hosts or hosts[0] == _host(one)
        ]

    def targets(self, name: str) -> list[Target]:
        """Return the SRV records of ``_port._protocol.service.namespace.svc``."""
        parts = self._parts(name)
        if parts is None or len(parts) != 4 or not parts[0].startswith("_"):
            return []
        port_name, protocol, service, namespace = parts
        found = self.store.get(SERVICE, (namespace, service))
        return [
            (f"{_host(one)}.{service}.{namespace}.svc.{self.domain}", target_port(port, ()))
            for port in (found["spec"].get("ports") or [] if found else [])
            if port.get("name") == port_name[1:] and port["protocol"].lower() == protocol[1:]
            for one in self._endpoints(namespace, service)
        ]

    def _parts(self, name: str) -> list[str] | None:
        stem = name.rstrip(".").lower().removesuffix(f".svc.{self.domain}")
        parts = stem.split(".")
        return parts if stem != name.rstrip(".").lower() and len(parts) >= 2 else None

    def _endpoints(self, namespace: str, service: str) -> Iterator[Manifest]:
        slice_ = self.store.get(ENDPOINT_SLICE, (namespace, service))
        for one in (slice_ or {}).get("endpoints") or []:
            if one["conditions"]["ready"]:
                yield one


def _host(endpoint: Manifest) -> str:
    return str(endpoint.get("hostname") or endpoint["addresses"][0].replace(".", "-"))
