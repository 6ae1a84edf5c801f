"""`Endpoint`: what a client dials."""

from __future__ import annotations

from attrs import frozen

from podfleet.errors import ConfigurationError
from podfleet.model.port import Protocol

__all__ = ["Endpoint"]


@frozen
class Endpoint:
    """An address and port that a client dials to reach one server.

    Args:
        host: An IP address or a DNS name.
        port: The port, 1 to 65535.
        protocol: What is spoken there; `Protocol.TCPUDP` serves both on this one number.
        name: The name of the template's port.

    Example:
        >>> endpoint = Endpoint("203.0.113.7", 31004, Protocol.TCP, "game")
        >>> str(endpoint)
        '203.0.113.7:31004'
        >>> endpoint.url("ws", "/join")
        'ws://203.0.113.7:31004/join'
        >>> str(Endpoint("2001:db8::7", 31004, Protocol.UDP, "game"))
        '[2001:db8::7]:31004'
    """

    host: str
    port: int
    protocol: Protocol
    name: str

    def __str__(self) -> str:
        """Return ``host:port``, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self, scheme: str, path: str = "") -> str:
        """Return the endpoint as a URL.

        Args:
            scheme: ``"ws"``, ``"http"``, ``"udp"`` ...
            path: What follows the port; starts with ``/`` unless empty.

        Returns:
            ``scheme://host:port`` and the path.

        Raises:
            ConfigurationError: The path does not start with ``/``.
        """
        if path and not path.startswith("/"):
            raise ConfigurationError("Endpoint.url.path", path, "must start with '/'")
        return f"{scheme}://{self}{path}"
