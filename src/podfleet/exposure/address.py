"""`NodeAddress`: at which address clients reach a node. Never guessed in silence."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.model.manifest import Manifest

__all__ = ["NodeAddress"]


@frozen(kw_only=True)
class NodeAddress:
    """At which address clients reach a node.

    Without arguments: the node's ExternalIP, then its ExternalDNS, then its InternalIP if that
    is globally routable (as on a VPS). Anything else must be said, because a wrong address
    shows only when players cannot connect.

    Args:
        internal: Take the InternalIP even if it is private: clients are in the same network.
        fixed: One address for every node: behind NAT, or kind's and minikube's ``127.0.0.1``.
        by_node: An address for each node: node name, or its InternalIP, to address.
        family: ``4`` or ``6`` where a node has addresses of both kinds; by default the first.

    Raises:
        ConfigurationError: More than one of ``internal``, ``fixed`` and ``by_node``, or an
            address that is empty.

    Example:
        >>> NodeAddress(fixed="203.0.113.7").choose("node-a", None, ["10.0.0.4"])
        '203.0.113.7'
        >>> NodeAddress().choose("node-a", None, ["10.0.0.4"])
        Traceback (most recent call last):
            ...
        podfleet.errors.ConfigurationError: NodeAddress: 'node-a': shows no public address, \
only 10.0.0.4: pass NodeAddress(internal=True) if clients are in the same network, or \
fixed= or by_node= with the address that they dial
    """

    internal: bool = False
    fixed: str | None = field(default=None)
    by_node: Mapping[str, str] | None = field(default=None)
    family: int | None = field(default=None)

    @fixed.validator
    def _check_fixed(self, _: Attribute[Any], value: str | None) -> None:
        if value is not None and not _is_host(value):
            raise ConfigurationError("NodeAddress.fixed", value, "must be an address or DNS name")

    @by_node.validator
    def _check_by_node(self, _: Attribute[Any], value: Mapping[str, str] | None) -> None:
        for node, host in (value or {}).items():
            if not _is_host(host):
                raise ConfigurationError(
                    f"NodeAddress.by_node[{node!r}]", host, "must be an address or DNS name"
                )

    @family.validator
    def _check_family(self, _: Attribute[Any], value: int | None) -> None:
        if value not in (None, 4, 6):
            raise ConfigurationError("NodeAddress.family", value, "must be 4, 6 or None")

    def __attrs_post_init__(self) -> None:
        given = [self.internal, self.fixed is not None, self.by_node is not None]
        if sum(given) > 1:
            raise ConfigurationError(
                "NodeAddress", self, "takes only one of internal, fixed and by_node"
            )

    @property
    def reads_nodes(self) -> bool:
        """Whether the Node object is needed: a fixed address or a map does without."""
        return self.fixed is None and self.by_node is None

    def choose(self, name: str, node: Manifest | None, host_ips: Iterable[str]) -> str:
        """Return the address of a node.

        Args:
            name: The node's name.
            node: The Node object, or ``None`` without rights on Nodes (they are
                cluster-scoped).
            host_ips: The Pod's ``status.hostIPs``, which need no rights on Nodes.

        Returns:
            An IP address or a DNS name.

        Raises:
            ConfigurationError: The rules give none; the message says what to pass.
        """
        if self.fixed is not None:
            return self.fixed
        internal = _addresses(node, "InternalIP") or list(host_ips)
        if self.by_node is not None:
            for key in (name, *internal):
                if key in self.by_node:
                    return self.by_node[key]
            raise ConfigurationError(
                "NodeAddress.by_node", name, "names no address for this node: add it"
            )
        candidates = [
            *self._of_family(_addresses(node, "ExternalIP")),
            *_addresses(node, "ExternalDNS"),
            *(ip for ip in self._of_family(internal) if self.internal or _is_public(ip)),
        ]
        if candidates:
            return candidates[0]
        raise ConfigurationError(
            "NodeAddress",
            name,
            f"shows no public address, only {', '.join(internal) or 'none at all'}: "
            "pass NodeAddress(internal=True) if clients are in the same network, "
            "or fixed= or by_node= with the address that they dial",
        )

    def _of_family(self, addresses: Iterable[str]) -> list[str]:
        return [
            address
            for address in addresses
            if self.family in (None, ipaddress.ip_address(address).version)
        ]


def _addresses(node: Manifest | None, kind: str) -> list[str]:
    """Return the node's addresses of one kind (status.addresses), in their order."""
    listed = ((node or {}).get("status") or {}).get("addresses") or []
    return [item["address"] for item in listed if item["type"] == kind]


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address).is_global


def _is_host(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not any(c in value for c in " /[]")
