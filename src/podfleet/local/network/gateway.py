"""`Gateway`: an ingress gateway that does as the cluster's VirtualServices say.

It reads the head of what comes, chooses, and passes the rest on: HTTP (and WebSocket, which begins
as HTTP), TLS by the name that its client asks for, and TCP by port.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Iterable
from contextlib import suppress

from podfleet.chance import CHANCE
from podfleet.local.controllers.controller import Controller
from podfleet.local.network.addresses import Addresses
from podfleet.local.network.connections import Connections
from podfleet.local.network.forward import splice
from podfleet.local.network.routes import Destination, Request, Routes
from podfleet.local.objects.kinds import ENDPOINT_SLICE, GATEWAY, SERVICE
from podfleet.local.objects.registry import Registry
from podfleet.local.objects.store import Change

__all__ = ["Gateway"]

_log = logging.getLogger(__name__)

_HEAD = 2**16  # bytes of an HTTP head, at the most
_PATIENCE = 10.0  # seconds for it to come
_KNOWN = ("HTTP", "TCP", "TLS")

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Gateway(Controller):
    """Listens where the Gateways say.

    Args:
        registry: The cluster's objects.
        addresses: Where it listens, and where Pods are found.
    """

    def __init__(self, registry: Registry, addresses: Addresses) -> None:
        super().__init__(registry)
        self._addresses = addresses
        self._routes = Routes(registry.store)
        self._servers: dict[int, asyncio.Task[None]] = {}
        self._connections = Connections()

    def keys(self, change: Change) -> Iterable[Hashable]:
        """Return one key for all Gateways: they share their ports."""
        return ["ports"] if change.kind == GATEWAY else []

    def reconcile(self, _: Hashable) -> float | None:
        """Listen on the ports that Gateways open, and on no others."""
        ports = self._routes.ports()
        for gone in self._servers.keys() - ports.keys():
            self._servers.pop(gone).cancel()
        for port, protocol in ports.items():
            if protocol not in _KNOWN:
                _log.warning("the embedded gateway has no %s: port %s stays shut", protocol, port)
            elif port not in self._servers:
                work = self._serve(port)
                self._servers[port] = asyncio.get_running_loop().create_task(work)
        return None

    def close(self) -> None:
        """Listen no more, and cut what is open."""
        for task in self._servers.values():
            task.cancel()
        self._connections.close()

    async def _serve(self, port: int) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._handle(port, (reader, writer))

        serving, where = self._connections.serving(handle), self._addresses.gateway
        try:
            # Cancelled while it begins to serve, it is closed as it is later.
            server = await asyncio.start_server(serving, where, port, start_serving=False)
            async with server:
                await server.serve_forever()
        except OSError as error:
            _log.warning(
                "the embedded gateway cannot listen on port %s: %s%s",
                port,
                error.strerror,
                ": choose one above 1023" if port < 1024 else "",
            )

    async def _handle(self, port: int, client: _Streams) -> None:
        protocol = self._routes.ports().get(port, "")
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            if protocol == "HTTP":
                await self._http(port, client)
            elif protocol == "TLS":
                async with asyncio.timeout(_PATIENCE):
                    hello = await _client_hello(client[0])
                await self._pass(self._routes.tls(port, _server_name(hello)), client, hello)
            elif protocol == "TCP":
                await self._pass(self._routes.tcp(port), client, b"")

    async def _http(self, port: int, client: _Streams) -> None:
        reader, writer = client
        async with asyncio.timeout(_PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
        if len(head) > _HEAD:
            writer.write(_answer(431, "Request Header Fields Too Large"))
            return
        lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, version = lines[0].split(" ")
        fields = [line.partition(":")[::2] for line in lines[1:]]
        headers = {name.strip().lower(): value.strip() for name, value in fields}
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        request = Request(method, path, host, headers)
        destination = self._routes.http(port, request)
        if destination is None:
            writer.write(_answer(404, "Not Found"))
            return
        if self._find(destination) is None:
            writer.write(_answer(503, "Service Unavailable"))
            return
        kept = [line for line in lines[1:] if not line.lower().startswith("connection:")]
        # One request a connection: the next may be for another server.
        upgrade = "upgrade" in headers.get("connection", "").lower()
        kept.append(f"Connection: {'Upgrade' if upgrade else 'close'}")
        kept.append(f"X-Forwarded-For: {writer.get_extra_info('peername')[0]}")
        first = "\r\n".join([f"{method} {destination.path} {version}", *kept, "", ""])
        await self._pass(destination, client, first.encode("latin-1"))

    async def _pass(self, destination: Destination | None, client: _Streams, first: bytes) -> None:
        where = self._find(destination) if destination else None
        if where is None:
            return
        upstream = await asyncio.open_connection(*where)
        upstream[1].write(first)
        await splice(client, upstream)

    def _find(self, destination: Destination) -> tuple[str, int] | None:
        """Return an endpoint of a Service."""
        name, namespace, *_ = [*destination.host.split("."), "", ""]
        service = self._store.get(SERVICE, (namespace, name))
        slice_ = self._store.get(ENDPOINT_SLICE, (namespace, name))
        if service is None or slice_ is None:
            return None
        ports = zip(service["spec"].get("ports") or [], slice_["ports"], strict=False)
        numbers = [
            shown["port"] for port, shown in ports if destination.port in (None, port["port"])
        ]
        ready = [one for one in slice_["endpoints"] if one["conditions"]["ready"]]
        if not numbers or not ready:
            return None
        return self._addresses.locate(CHANCE.choice(ready)["addresses"][0], numbers[0])


def _answer(status: int, words: str) -> bytes:
    return (f"HTTP/1.1 {status} {words}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").encode()


async def _client_hello(reader: asyncio.StreamReader) -> bytes:
    """Return the first record of a TLS connection."""
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[3:5], "big"))


def _server_name(hello: bytes) -> str:
    """Return the name that a ClientHello asks for (RFC 8446 4.1.2, RFC 6066 3), or nothing."""
    at = 5 + 4 + 2 + 32  # record, handshake, version, random
    at += 1 + hello[at]  # session
    at += 2 + int.from_bytes(hello[at : at + 2], "big")  # cipher suites
    at += 1 + hello[at]  # compression
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at + 4 <= end:
        kind = int.from_bytes(hello[at : at + 2], "big")
        size = int.from_bytes(hello[at + 2 : at + 4], "big")
        if kind == 0:  # server_name: a list, of which the first is a host's
            return hello[at + 9 : at + 4 + size].decode("ascii", errors="replace")
        at += 4 + size
    return ""
