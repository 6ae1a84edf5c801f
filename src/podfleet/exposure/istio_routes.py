"""By what an Istio gateway tells servers apart: the host, a path, a header, or a port. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Any, ClassVar

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.model import Endpoint, Port
from podfleet.model.names import check_domain, check_subdomain
from podfleet.ports import PortPool

__all__ = ["ByHeader", "ByHost", "ByPath", "ByPort", "Route"]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PREFIX = re.compile(r"(/[-A-Za-z0-9_.~]+)*/?")
_HEADER = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LONGEST = 1024  # characters of a path
_HASHED = "s-"

_Gate = dict[str, Any]


def _check_domain(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None or attribute.name == "domain":
        check_domain(f"IstioRoute.by.{attribute.name}", value, "play.example.com")


def _check_gateway_port(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise ConfigurationError(f"IstioRoute.by.{attribute.name}", value, "must be 1 to 65535")


@frozen(kw_only=True)
class Route:
    """By what an Istio gateway tells servers apart: what the four ways have in common.

    A *key* names a server to the gateway: the server's own name, or its session.
    """

    protocol: ClassVar[str] = "http"
    """What the gateway speaks to a server: a Service port's ``appProtocol``."""

    @property
    def pool(self) -> PortPool | None:
        """The gateway's ports, where each server has its own."""
        return None

    @property
    def public_host(self) -> str | None:
        """The DNS name that clients dial, where there is one."""
        return None

    def session_key(self, fleet: str, session: str) -> str:
        """Return the key of a session: itself, where it can be one, else a hash.

        Never a name that a server of the fleet may have, which would take that one's players.

        Example:
            >>> ByHost("play.example.com").session_key("arena", "match-42")
            'match-42'
            >>> ByHost("play.example.com").session_key("arena", "arena-7xk2mbq9wd")
            's-faad3aa9ca8891cc3f3a74b5c50232ec'
        """
        confusable = session.startswith((_HASHED, f"{fleet}-"))
        if _LABEL.fullmatch(session) and not confusable:
            return session
        return _HASHED + hashlib.sha256(session.encode()).hexdigest()[:32]

    def gates(self) -> list[_Gate]:
        """Return the ``servers`` of a Gateway that lets these routes in."""
        raise NotImplementedError

    def hosts(self, key: str) -> list[str]:
        """Return the ``hosts`` of a server's VirtualService."""
        return [self.public_host or "*"]

    def rules(self, key: str, number: int | None, target: dict[str, Any]) -> dict[str, Any]:
        """Return the rules of a VirtualService for one port of a server.

        Args:
            key: What the gateway knows the server by.
            number: The gateway's port, if the server has one of its own.
            target: The route's destination.
        """
        raise NotImplementedError

    def endpoint(self, port: Port, key: str, number: int | None, address: str | None) -> Endpoint:
        """Return what clients dial.

        Args:
            port: The template's port.
            key: What the gateway knows the server by.
            number: The gateway's port, if the server has one of its own.
            address: The gateway's address, if it is known.
        """
        raise NotImplementedError


@frozen(kw_only=True)
class ByHost(Route):
    """Each server has a host of its own, ``<server>.<domain>``, on one port of the gateway.

    For HTTP and WebSocket; for any protocol inside TLS too (``tls="passthrough"``): the gateway
    reads the host's name from the TLS handshake (SNI), and the server has the certificate. A DNS
    record ``*.<domain>`` must lead to the gateway.

    Args:
        domain: The domain.
        port: The gateway's port; by default 80, or 443 with TLS.
        tls: ``"passthrough"``, or the name of the Secret with the gateway's own certificate (in
            the gateway's namespace), with which it ends TLS.
    """

    domain: str = field(validator=_check_domain, kw_only=False)
    port: int | None = field(default=None, validator=_check_gateway_port)
    tls: str | None = field(default=None)

    @tls.validator
    def _check_tls(self, _: Attribute[Any], value: str | None) -> None:
        _check_secret("IstioRoute.by.tls", value)

    @property
    def passes_through(self) -> bool:
        """Whether TLS ends in the server."""
        return self.tls == "passthrough"

    @property
    def public_host(self) -> str | None:
        """The domain, below which the hosts are."""
        return self.domain

    def gates(self) -> list[_Gate]:
        """Return one gate for all hosts of the domain."""
        if self.passes_through:
            port = {"number": _number(self), "name": "tls", "protocol": "TLS"}
            return [{"port": port, "hosts": [f"./*.{self.domain}"], "tls": {"mode": "PASSTHROUGH"}}]
        return [_http_gate(_number(self), self.tls, f"*.{self.domain}")]

    def hosts(self, key: str) -> list[str]:
        """Return the server's host."""
        return [f"{key}.{self.domain}"]

    def rules(self, key: str, number: int | None, target: dict[str, Any]) -> dict[str, Any]:
        """Return a rule for the host: by SNI if TLS passes through."""
        if self.passes_through:
            match = [{"port": _number(self), "sniHosts": self.hosts(key)}]
            return {"tls": [{"match": match, "route": [target]}]}
        return {"http": [{"route": [target]}]}

    def endpoint(self, port: Port, key: str, number: int | None, address: str | None) -> Endpoint:
        """Return the server's host with the gateway's port."""
        (host,) = self.hosts(key)
        return Endpoint(host, _number(self), port.protocol, port.name, address=address)


@frozen(kw_only=True)
class _ByRequest(Route):
    """Servers share a host; the gateway looks inside HTTP to tell them apart."""

    host: str | None = field(default=None, validator=_check_domain, kw_only=False)
    port: int | None = field(default=None, validator=_check_gateway_port)
    tls: str | None = field(default=None)

    @tls.validator
    def _check_tls(self, _: Attribute[Any], value: str | None) -> None:
        _check_secret("IstioRoute.by.tls", value)
        if value == "passthrough":
            raise ConfigurationError(
                "IstioRoute.by.tls",
                value,
                f"{type(self).__name__} looks inside HTTP, so the gateway must end TLS: name its "
                "Secret, or use ByHost",
            )

    @property
    def public_host(self) -> str | None:
        """The host."""
        return self.host

    def gates(self) -> list[_Gate]:
        """Return one gate."""
        return [_http_gate(_number(self), self.tls, self.host or "*")]

    def _endpoint(self, port: Port, address: str | None, **told: Any) -> Endpoint:
        host = self.host or _address(address)
        return Endpoint(host, _number(self), port.protocol, port.name, address=address, **told)


@frozen(kw_only=True)
class ByPath(_ByRequest):
    """Servers share a host; the gateway tells them apart by the first part of the path.

    It takes that part away: a server sees ``/join`` where the client asked ``/arena-7xk2/join``.
    For HTTP and WebSocket.

    Args:
        host: The host; by default any.
        prefix: What the paths start with, before the server's name.
        port: The gateway's port; by default 80, or 443 with TLS.
        tls: The name of the Secret with the gateway's certificate (in the gateway's namespace).
    """

    prefix: str = field(default="/")

    @prefix.validator
    def _check_prefix(self, _: Attribute[Any], value: str) -> None:
        if (
            not isinstance(value, str)
            or not 0 < len(value) <= _LONGEST
            or not _PREFIX.fullmatch(value)
        ):
            raise ConfigurationError(
                "IstioRoute.by.prefix", value, "must be a path of letters, digits and '-_.~': '/x'"
            )

    def rules(self, key: str, number: int | None, target: dict[str, Any]) -> dict[str, Any]:
        """Return a rule for the path, and all below it: not for a longer name."""
        path = self._path(key)
        match = [{"uri": {"prefix": f"{path}/"}}, {"uri": {"exact": path}}]
        return {"http": [{"match": match, "rewrite": {"uri": "/"}, "route": [target]}]}

    def endpoint(self, port: Port, key: str, number: int | None, address: str | None) -> Endpoint:
        """Return the host, or the gateway's address, with the path."""
        return self._endpoint(port, address, path=self._path(key))

    def _path(self, key: str) -> str:
        return f"{self.prefix.rstrip('/')}/{key}"


@frozen(kw_only=True)
class ByHeader(_ByRequest):
    """Servers share a host; the gateway tells them apart by an HTTP header that clients send.

    For HTTP, and for WebSocket clients that can set headers (browsers cannot).

    Args:
        host: The host; by default any.
        header: The header's name, in lower case.
        port: The gateway's port; by default 80, or 443 with TLS.
        tls: The name of the Secret with the gateway's certificate (in the gateway's namespace).
    """

    header: str = field(default="x-game-server")

    @header.validator
    def _check_header(self, _: Attribute[Any], value: str) -> None:
        if not isinstance(value, str) or len(value) > 63 or not _HEADER.fullmatch(value):
            raise ConfigurationError(
                "IstioRoute.by.header", value, "must be of lower-case letters, digits and '-'"
            )

    def rules(self, key: str, number: int | None, target: dict[str, Any]) -> dict[str, Any]:
        """Return a rule for the header's value."""
        match = [{"headers": {self.header: {"exact": key}}}]
        return {"http": [{"match": match, "route": [target]}]}

    def endpoint(self, port: Port, key: str, number: int | None, address: str | None) -> Endpoint:
        """Return the host, or the gateway's address, with the header."""
        return self._endpoint(port, address, headers={self.header: key})


@frozen(kw_only=True)
class ByPort(Route):
    """Each server has ports of the gateway of its own, for any protocol over TCP.

    The gateway's Service must open every port of the pool. Fleets of one namespace may share a
    gateway and a pool: the API server sees to it that no two servers get one number. Fleets of
    different namespaces need pools that do not overlap, or gateways of their own.

    Args:
        pool: The ports of the gateway.
    """

    protocol: ClassVar[str] = "tcp"

    numbers: PortPool = field(kw_only=False)

    @numbers.validator
    def _check_numbers(self, _: Attribute[Any], value: object) -> None:
        if not isinstance(value, PortPool):
            raise ConfigurationError("IstioRoute.by.numbers", value, "must be a PortPool")

    @property
    def pool(self) -> PortPool | None:
        """The gateway's ports."""
        return self.numbers

    def gates(self) -> list[_Gate]:
        """Return a gate for each port of the pool."""
        return [
            {
                "port": {"number": number, "name": f"tcp-{number}", "protocol": "TCP"},
                "hosts": ["./*"],
            }
            for number in range(self.numbers.first, self.numbers.last + 1)
            if number in self.numbers
        ]

    def rules(self, key: str, number: int | None, target: dict[str, Any]) -> dict[str, Any]:
        """Return a rule for the port."""
        return {"tcp": [{"match": [{"port": number}], "route": [target]}]}

    def endpoint(self, port: Port, key: str, number: int | None, address: str | None) -> Endpoint:
        """Return the gateway's address with the server's own port of it."""
        assert number is not None, "shape() wrote as many numbers as there are ports"
        return Endpoint(_address(address), number, port.protocol, port.name, address=address)


def _number(route: ByHost | _ByRequest) -> int:
    return route.port or (80 if route.tls is None else 443)


def _http_gate(number: int, secret: str | None, host: str) -> _Gate:
    # "./" lets in the routes of the Gateway's own namespace only.
    gate: _Gate = {
        "port": {"number": number, "name": "http", "protocol": "HTTP"},
        "hosts": [f"./{host}"],
    }
    if secret is not None:
        gate["port"] |= {"name": "https", "protocol": "HTTPS"}
        gate["tls"] = {"mode": "SIMPLE", "credentialName": secret}
    return gate


def _check_secret(name: str, value: object) -> None:
    if value is not None:
        check_subdomain(name, value)


def _address(address: str | None) -> str:
    assert address is not None, "IstioRoute asks for one where no host is named"
    return address
