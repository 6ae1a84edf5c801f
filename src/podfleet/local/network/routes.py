"""Where Istio's Gateways and VirtualServices lead a connection. Pure.

Of https://istio.io/latest/docs/reference/config/networking/virtual-service/: hosts, gateways,
match (uri, method, authority, headers, port, sniHosts), rewrite.uri, and a route's first
destination.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from podfleet.local.objects.kinds import GATEWAY, VIRTUAL_SERVICE
from podfleet.local.objects.store import Store
from podfleet.model import Manifest
from podfleet.model.manifest import name_of, namespace_of

__all__ = ["Destination", "Request", "Routes"]


@frozen
class Request:
    """The head of an HTTP request.

    Args:
        method: ``GET``.
        path: With its query.
        host: Of the Host header, without a port.
        headers: Name in lower case, to value.
    """

    method: str
    path: str
    host: str
    headers: Mapping[str, str]


@frozen
class Destination:
    """Where a route leads.

    Args:
        host: A Service's name, ``arena.games.svc.cluster.local``.
        port: Its port; ``None`` if it has only one.
        path: The path to ask there for, of HTTP.
    """

    host: str
    port: int | None
    path: str = ""


@frozen
class Routes:
    """Reads the cluster's routes.

    Args:
        store: The objects.
    """

    store: Store

    def ports(self) -> dict[int, str]:
        """Return the ports that the Gateways open, and the protocol of each."""
        return {
            server["port"]["number"]: _protocol(server)
            for gateway in self.store.all(GATEWAY)
            for server in gateway["spec"].get("servers") or []
        }

    def http(self, port: int, request: Request) -> Destination | None:
        """Return where an HTTP request goes."""
        for spec, namespace in self._bound(port, request.host):
            for rule in spec.get("http") or []:
                for match in rule.get("match") or [{}]:
                    if _matches_http(match, request, port):
                        path = _rewritten(rule, match, request.path)
                        return _destination(rule, namespace, path)
        return None

    def tls(self, port: int, server_name: str) -> Destination | None:
        """Return where a TLS connection goes, by the name that its client asks for."""
        for spec, namespace in self._bound(port, server_name):
            for rule in spec.get("tls") or []:
                for match in rule["match"]:
                    if match.get("port", port) == port and any(
                        _covers(host, server_name) for host in match["sniHosts"]
                    ):
                        return _destination(rule, namespace)
        return None

    def tcp(self, port: int) -> Destination | None:
        """Return where a TCP connection goes."""
        for spec, namespace in self._bound(port, None):
            for rule in spec.get("tcp") or []:
                if any(match.get("port", port) == port for match in rule.get("match") or [{}]):
                    return _destination(rule, namespace)
        return None

    def _bound(self, port: int, host: str | None) -> Iterator[tuple[Manifest, str]]:
        """Yield the routes that a Gateway's port lets a host in to, with their namespaces."""
        opened = {
            f"{namespace_of(gateway)}/{name_of(gateway)}": [
                server["hosts"]
                for server in gateway["spec"].get("servers") or []
                if server["port"]["number"] == port
            ]
            for gateway in self.store.all(GATEWAY)
        }
        for route in self.store.all(VIRTUAL_SERVICE):
            spec, namespace = route["spec"], namespace_of(route)
            if host is not None and not any(_covers(one, host) for one in spec["hosts"]):
                continue
            for name in spec.get("gateways") or []:
                full = name if "/" in name else f"{namespace}/{name}"
                own = full.partition("/")[0]
                for hosts in opened.get(full, []):
                    if any(_lets_in(one, namespace, own, host) for one in hosts):
                        yield spec, namespace


def _protocol(server: Manifest) -> str:
    mode = (server.get("tls") or {}).get("mode")
    if mode == "PASSTHROUGH":
        return "TLS"
    protocol = str(server["port"]["protocol"]).upper()
    return protocol if mode is None and protocol in ("HTTP", "TCP") else f"{protocol}/{mode}"


def _lets_in(pattern: str, namespace: str, own: str, host: str | None) -> bool:
    scope, slash, rest = pattern.rpartition("/")
    if slash and scope not in ("*", namespace) and not (scope == "." and namespace == own):
        return False
    return host is None or _covers(rest, host)


def _covers(pattern: str, host: str) -> bool:
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _matches_http(match: Mapping[str, Any], request: Request, port: int) -> bool:
    path = request.path.partition("?")[0]
    wanted = {
        "uri": path,
        "method": request.method,
        "authority": request.host,
        "scheme": "http",
    }
    return (
        match.get("port", port) == port
        and all(_says(match[key], value) for key, value in wanted.items() if key in match)
        and all(
            _says(said, request.headers.get(name.lower()))
            for name, said in (match.get("headers") or {}).items()
        )
    )


def _says(wanted: Mapping[str, str], value: str | None) -> bool:
    if value is None:
        return False
    if "exact" in wanted:
        return value == wanted["exact"]
    if "prefix" in wanted:
        return value.startswith(wanted["prefix"])
    if "regex" in wanted:
        return re.fullmatch(wanted["regex"], value) is not None
    return True  # present is enough


def _rewritten(rule: Manifest, match: Mapping[str, Any], path: str) -> str:
    new = (rule.get("rewrite") or {}).get("uri")
    if new is None:
        return path
    asked, mark, query = path.partition("?")
    prefix = (match.get("uri") or {}).get("prefix")
    rest = asked[len(prefix) :] if prefix is not None else ""
    return f"{new}{rest}{mark}{query}"


def _destination(rule: Manifest, namespace: str, path: str = "") -> Destination:
    target = rule["route"][0]["destination"]
    host = target["host"]
    if "." not in host:
        host = f"{host}.{namespace}.svc.cluster.local"
    return Destination(host, (target.get("port") or {}).get("number"), path)
