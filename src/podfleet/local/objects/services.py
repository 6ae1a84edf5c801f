"""The addresses and NodePorts of Services: given by the API server, each only once.

From Kubernetes' pkg/registry/core/service/storage/alloc.go and portallocator/allocator.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from attrs import frozen

from podfleet.chance import CHANCE
from podfleet.local.objects.kinds import SERVICE
from podfleet.local.objects.statuses import Refusal, internal, invalid, invalid_value
from podfleet.model import Manifest
from podfleet.model.manifest import name_of

__all__ = ["Allocator"]


@frozen
class Allocator:
    """Gives Services what no two of them may share.

    Args:
        addresses: The cluster's range of Service addresses.
        first: The first NodePort.
        last: The last NodePort.
    """

    addresses: IPv4Network
    first: int = 30000
    last: int = 32767

    def allocate(self, service: dict[str, Any], others: Iterable[Manifest]) -> None:
        """Write the address and the NodePorts of a Service into it, before it is stored.

        Args:
            service: The Service; what it had before, it keeps.
            others: Every other Service.

        Raises:
            Refusal: A number that it asks for is another's, or out of range; or there is none.
        """
        others = list(others)
        self._address(service, others)
        spec = service["spec"]
        if spec["type"] not in ("NodePort", "LoadBalancer"):
            for port in spec.get("ports") or []:
                port.pop("nodePort", None)
            return
        taken = {
            port["nodePort"]
            for other in others
            for port in other["spec"].get("ports") or []
            if "nodePort" in port
        }
        own: dict[int, int] = {}  # a Service's port has one number, for TCP and for UDP
        for number, port in enumerate(spec.get("ports") or []):
            wanted = port.get("nodePort") or own.get(port["port"]) or _asked(port["port"], spec)
            if wanted:
                if wanted not in own.values():
                    self._check(service, number, wanted, taken)
            else:
                wanted = self._next(taken)
            port["nodePort"] = own[port["port"]] = wanted
            taken.add(wanted)

    def _check(self, service: Manifest, number: int, wanted: int, taken: set[int]) -> None:
        why = None
        if not self.first <= wanted <= self.last:
            why = (
                "provided port is not in the valid range. The range of valid ports is "
                f"{self.first}-{self.last}"
            )
        elif wanted in taken:
            why = "provided port is already allocated"
        if why:
            at = f"spec.ports[{number}].nodePort"
            raise invalid(SERVICE, name_of(service), [invalid_value(at, wanted, why)])

    def _next(self, taken: set[int]) -> int:
        free = [number for number in range(self.first, self.last + 1) if number not in taken]
        if not free:
            raise internal("failed to allocate a nodePort: range is full")
        return CHANCE.choice(free)

    def _address(self, service: dict[str, Any], others: list[Manifest]) -> None:
        spec = service["spec"]
        if spec["type"] == "ExternalName":
            return
        if spec.get("clusterIP") in (None, ""):
            taken = {other["spec"].get("clusterIP") for other in others}
            spec["clusterIP"] = self._free_address(taken)
        elif spec["clusterIP"] != "None":
            self._check_address(service, others)
        spec["clusterIPs"] = [spec["clusterIP"]]

    def _free_address(self, taken: set[Any]) -> str:
        size = self.addresses.num_addresses - 2
        start = CHANCE.randrange(size)
        for step in range(size):
            address = str(self.addresses[1 + (start + step) % size])
            if address not in taken:
                return address
        raise internal("failed to allocate a serviceIP: range is full")

    def _check_address(self, service: Manifest, others: list[Manifest]) -> None:
        wanted = service["spec"]["clusterIP"]
        if IPv4Address(wanted) not in self.addresses:
            why = (
                f"failed to allocate IP {wanted}: the provided IP is not in the valid range. The "
                f"range of valid IPs is {self.addresses}"
            )
        elif any(other["spec"].get("clusterIP") == wanted for other in others):
            why = f"failed to allocate IP {wanted}: provided IP is already allocated"
        else:
            return
        error: Refusal = invalid(
            SERVICE, name_of(service), [invalid_value("spec.clusterIPs", [wanted], why)]
        )
        raise error


def _asked(number: int, spec: Manifest) -> int:
    """Return the NodePort that the same port has under its other protocol, 0 for none."""
    asked = [one.get("nodePort") for one in spec.get("ports") or [] if one.get("port") == number]
    return next((one for one in asked if one), 0)
