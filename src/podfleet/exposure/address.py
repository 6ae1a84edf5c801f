"""`NodeAddress`: at which address clients reach a node. Never guessed in silence."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.exposure.hosts import check_host, why_no_host
from podfleet.model.manifest import Manifest, annotations_of, name_of
from podfleet.model.names import check_annotation_key
from podfleet.model.rules import Rule

__all__ = ["NodeAddress"]

_VERSIONS = {"IPv4": 4, "IPv6": 6}


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
        by_annotation: The key of a Node annotation that holds the address.
        by_function: A function from the Node, as the API server's JSON, to the address;
            ``None``: it has none.
        prefer: ``"IPv4"`` or ``"IPv6"`` where a node has addresses of both kinds; by default
            the first that the node shows.

    Raises:
        ConfigurationError: More than one of these rules, or an address that nobody can dial.

    Example:
        >>> NodeAddress(fixed="203.0.113.7").choose("node-a", None, ["10.0.0.4"])
        '203.0.113.7'
        >>> NodeAddress().choose("node-a", None, ["10.0.0.4"])
        Traceback (most recent call last):
            ...
        podfleet.errors.ConfigurationError: NodeAddress: 'node-a': shows no public address, \
only 10.0.0.4: pass NodeAddress(internal=True) if clients are in the same network, or \
fixed=, by_node=, by_annotation= or by_function= with the address that they dial
    """

    internal: bool = field(default=False)
    fixed: str | None = field(default=None)
    by_node: Mapping[str, str] | None = field(default=None)
    by_annotation: str | None = field(default=None)
    by_function: Callable[[Manifest], str | None] | None = field(default=None)
    prefer: Literal["IPv4", "IPv6"] | None = field(default=None)

    @internal.validator
    def _check_internal(self, _: Attribute[Any], value: object) -> None:
        if not isinstance(value, bool):
            raise ConfigurationError("NodeAddress.internal", value, "must be True or False")

    @fixed.validator
    def _check_fixed(self, _: Attribute[Any], value: str | None) -> None:
        if value is not None:
            check_host("NodeAddress.fixed", value)

    @by_node.validator
    def _check_by_node(self, _: Attribute[Any], value: Mapping[str, str] | None) -> None:
        if value is None:
            return
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                "NodeAddress.by_node", value, "must be a dict: {'node-a': '203.0.113.7'}"
            )
        for node, host in value.items():
            if not isinstance(node, str) or not node:
                raise ConfigurationError(
                    "NodeAddress.by_node", node, "a key must be a node's name or its InternalIP"
                )
            check_host(f"NodeAddress.by_node[{node!r}]", host)

    @by_annotation.validator
    def _check_by_annotation(self, _: Attribute[Any], value: str | None) -> None:
        if value is not None:
            check_annotation_key("NodeAddress.by_annotation", value)

    @by_function.validator
    def _check_by_function(self, _: Attribute[Any], value: object) -> None:
        if value is not None and not callable(value):
            raise ConfigurationError("NodeAddress.by_function", value, "must be a function")

    @prefer.validator
    def _check_prefer(self, _: Attribute[Any], value: object) -> None:
        if value is not None and (not isinstance(value, str) or value not in _VERSIONS):
            raise ConfigurationError("NodeAddress.prefer", value, "must be 'IPv4' or 'IPv6'")

    def __attrs_post_init__(self) -> None:
        rules = (self.fixed, self.by_node, self.by_annotation, self.by_function)
        if sum([self.internal, *(rule is not None for rule in rules)]) > 1:
            raise ConfigurationError(
                "NodeAddress",
                self,
                "takes only one of internal, fixed, by_node, by_annotation and by_function",
            )

    @property
    def reads_nodes(self) -> bool:
        """Whether the Node object is needed: a fixed address or a map does without."""
        return self.fixed is None and self.by_node is None

    def rules(self) -> tuple[Rule, ...]:
        """Return the rights needed: to read Nodes, unless the addresses are given."""
        return (Rule("", ("nodes",), ("get", "list"), cluster=True),) if self.reads_nodes else ()

    def of_pod(self, pod: Manifest, node: Manifest | None) -> str | None:
        """Return the address of the node that a Pod runs on; ``None`` until it has one.

        Args:
            pod: The Pod; its ``status.hostIPs`` need no rights on Nodes.
            node: Its Node, or ``None`` without rights on Nodes (they are cluster-scoped).

        Raises:
            ConfigurationError: The rules give none; the message says what to pass.
        """
        name = pod["spec"].get("nodeName")
        host_ips = [item["ip"] for item in (pod.get("status") or {}).get("hostIPs") or []]
        return self.choose(name, node, host_ips) if name and host_ips else None

    def of_node(self, node: Manifest) -> str:
        """Return the address of a Node.

        Raises:
            ConfigurationError: The rules give none; the message says what to pass.
        """
        return self.choose(name_of(node), node, ())

    def choose(self, name: str, node: Manifest | None, host_ips: Iterable[str]) -> str:
        """Return the address of a node.

        Args:
            name: The node's name.
            node: The Node object, or ``None`` if it could not be read.
            host_ips: The node's addresses that a Pod on it shows.

        Returns:
            An IP address or a DNS name.

        Raises:
            ConfigurationError: The rules give none; the message says what to pass.
        """
        if self.fixed is not None:
            return self.fixed
        # What a Pod shows is asked only where the Node cannot be: of an address that the Node has
        # lost it tells nothing.
        internal = list(host_ips) if node is None else _addresses(node, "InternalIP")
        if self.by_node is not None:
            for key in (name, *internal):
                if key in self.by_node:
                    return self.by_node[key]
            raise ConfigurationError(
                "NodeAddress.by_node", name, "names no address for this node: add it"
            )
        if self.by_annotation is not None or self.by_function is not None:
            return self._told(name, node)
        candidates = [
            *_addresses(node, "ExternalIP"),
            *_addresses(node, "ExternalDNS"),
            *(address for address in internal if self.internal or _is_public(address)),
        ]
        if candidates:
            preferred = [
                address
                for address in candidates
                if self.prefer and _version(address) == _VERSIONS[self.prefer]
            ]
            chosen = (preferred or candidates)[0]
            if (wrong := why_no_host(chosen)) is not None:
                raise ConfigurationError(
                    "NodeAddress", name, f"shows {chosen!r} as an address of this node: {wrong}"
                )
            return chosen
        raise ConfigurationError(
            "NodeAddress",
            name,
            f"shows no public address, only {', '.join(internal) or 'none at all'}: "
            "pass NodeAddress(internal=True) if clients are in the same network, or fixed=, "
            "by_node=, by_annotation= or by_function= with the address that they dial",
        )

    def _told(self, name: str, node: Manifest | None) -> str:
        """Return what the annotation or the function says of a Node."""
        rule = "by_annotation" if self.by_annotation is not None else "by_function"
        if node is None:
            raise ConfigurationError(
                f"NodeAddress.{rule}", name, "this Node cannot be read: grant the right to get it"
            )
        if self.by_function is not None:
            told, advice = self._asked(self.by_function, node), "it must return one"
        else:
            key = str(self.by_annotation)
            told, advice = annotations_of(node).get(key), f"annotate the Node: {key}=<address>"
        if told is None:
            raise ConfigurationError(
                f"NodeAddress.{rule}", name, f"gives None for this node: {advice}"
            )
        if (wrong := why_no_host(told)) is not None:
            raise ConfigurationError(
                f"NodeAddress.{rule}", name, f"gives {told!r} for this node: {wrong}"
            )
        return str(told)

    @staticmethod
    def _asked(function: Callable[[Manifest], str | None], node: Manifest) -> str | None:
        try:
            return function(node)
        except Exception as error:  # the user's own
            raise ConfigurationError(
                "NodeAddress.by_function",
                name_of(node),
                f"raised {type(error).__name__} for this node: {error}",
            ) from error


def _addresses(node: Manifest | None, kind: str) -> list[str]:
    """Return the node's addresses of one kind (status.addresses), in their order."""
    listed = ((node or {}).get("status") or {}).get("addresses") or []
    return [item["address"] for item in listed if item["type"] == kind and item["address"]]


@lru_cache(maxsize=4096)
def _version(address: str) -> int | None:
    """Return 4 or 6; ``None`` for a DNS name."""
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _is_public(address: str) -> bool:
    return _version(address) is not None and ipaddress.ip_address(address).is_global
