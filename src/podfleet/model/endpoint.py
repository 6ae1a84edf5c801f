"""`Endpoint`: what a client dials."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.model.plain import check_text, plain_mapping
from podfleet.model.port import Protocol, check_port_number

__all__ = ["Endpoint"]


def _headers(value: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(plain_mapping("Endpoint.headers", value, "{'x-game-server': 'a'}"))


def _check_text(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None or attribute.default is not None:
        check_text(f"Endpoint.{attribute.name}", value)


def _check_port(_: object, __: Attribute[Any], value: int) -> None:
    check_port_number("Endpoint.port", value)


def _check_protocol(_: object, __: Attribute[Any], value: object) -> None:
    if not isinstance(value, Protocol):
        raise ConfigurationError("Endpoint.protocol", value, "must be a Protocol: Protocol.UDP")


@frozen
class Endpoint:
    """An address and port that a client dials to reach one server.

    Args:
        host: An IP address or a DNS name.
        port: The port, 1 to 65535.
        protocol: What is spoken there; `Protocol.TCPUDP` serves both on this one number.
        name: The name of the template's port.
        address: An IP address that `host` stands for, where it is known too: for callers that
            do not want to wait for DNS. ``None`` if there is none.
        path: What a URL to this server starts with, where a gateway routes by it: ``"/arena-1"``.
        headers: HTTP headers that reach this server, where a gateway routes by them.
        srv: A DNS name whose SRV records list the server, where the strategy makes them.

    Raises:
        ConfigurationError: A field of another type.

    Example:
        >>> endpoint = Endpoint("203.0.113.7", 31004, Protocol.TCP, "game")
        >>> str(endpoint)
        '203.0.113.7:31004'
        >>> endpoint.url("ws", "/join")
        'ws://203.0.113.7:31004/join'
        >>> str(Endpoint("2001:db8::7", 31004, Protocol.UDP, "game"))
        '[2001:db8::7]:31004'
        >>> Endpoint("example.com", 443, Protocol.TCP, "web", path="/arena-1").url("wss", "/ws")
        'wss://example.com:443/arena-1/ws'
    """

    host: str = field(validator=_check_text)
    port: int = field(validator=_check_port)
    protocol: Protocol = field(validator=_check_protocol)
    name: str = field(validator=_check_text)
    address: str | None = field(default=None, kw_only=True, validator=_check_text)
    path: str = field(default="", kw_only=True, validator=_check_text)
    headers: Mapping[str, str] = field(factory=dict, converter=_headers, hash=False, kw_only=True)
    srv: str | None = field(default=None, kw_only=True, validator=_check_text)

    def __str__(self) -> str:
        """Return ``host:port``, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self, scheme: str, path: str = "") -> str:
        """Return the endpoint as a URL.

        Args:
            scheme: ``"ws"``, ``"http"``, ``"udp"`` ...
            path: What follows the endpoint's own path; starts with ``/`` unless empty.

        Returns:
            ``scheme://host:port`` and the path.

        Raises:
            ConfigurationError: The path does not start with ``/``.
        """
        check_text("Endpoint.url.scheme", scheme)
        if check_text("Endpoint.url.path", path) and not path.startswith("/"):
            raise ConfigurationError("Endpoint.url.path", path, "must start with '/'")
        return f"{scheme}://{self}{self.path}{path}"
