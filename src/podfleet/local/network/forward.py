"""`Forwarder`: listens on a port of a Node and passes on what comes, over TCP or UDP."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Sequence
from typing import Any

from attrs import define, field, frozen

from podfleet.chance import CHANCE
from podfleet.local.network.connections import Connections

__all__ = ["Forwarder", "Target", "Where", "splice"]

Where = tuple[str, int]
"""Address and port."""


@frozen
class Target:
    """Where a forwarder leads.

    Args:
        where: Address and port of a Pod.
        via: The address that its server is to see in place of the client's, as on a second hop.
    """

    where: Where
    via: str | None = None

    def source(self, client: str) -> Where | None:
        """Return the local address to dial from; only loopback can be chosen."""
        address = self.via or client
        return (address, 0) if address.startswith("127.") else None


_log = logging.getLogger(__name__)

_IDLE = 120.0  # seconds after which a UDP flow is forgotten, as conntrack does
_CHUNK = 2**16
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


@define
class Forwarder:
    """Forwards one port.

    The server sees the client's own address, where that is a loopback address (Linux) and the
    target does not say otherwise.

    Args:
        where: Where it listens.
        transport: ``TCP`` or ``UDP``.
        targets: Where it leads; one is chosen for each client.
        missed: How often in turn no server was seen to listen there.
    """

    where: Where
    transport: str
    targets: Sequence[Target]
    missed: int = 0
    _socket: socket.socket | None = None
    _server: asyncio.Server | None = None
    _datagrams: asyncio.DatagramTransport | None = None
    _opening: asyncio.Task[None] | None = None
    _connections: Connections = field(factory=Connections)

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._socket is not None

    def listen(self) -> None:
        """Take the port; what comes from now on is served.

        Raises:
            OSError: Somebody else has it.
        """
        kind = socket.SOCK_STREAM if self.transport == "TCP" else socket.SOCK_DGRAM
        opened = socket.socket(socket.AF_INET, kind)
        try:
            if self.transport == "TCP":
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setblocking(False)
            opened.bind(self.where)
            if self.transport == "TCP":
                opened.listen(128)
        except OSError:
            opened.close()
            raise
        self._socket = opened
        self._opening = asyncio.get_running_loop().create_task(self._serve())

    def close(self) -> None:
        """Listen no more, and cut what is open."""
        opened, self._socket = self._socket, None
        if self._opening is not None:
            self._opening.cancel()
            if opened is not None and self._server is None and self._datagrams is None:
                # By then the loop has forgotten it, and takes no other for it with its number.
                self._opening.add_done_callback(lambda _: opened.close())
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None
        self._connections.close()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        if self.transport == "TCP":
            serving = self._connections.serving(self._forward)
            self._server = await asyncio.start_server(
                serving, sock=self._socket, start_serving=False
            )
            await self._server.start_serving()
        else:
            self._datagrams, _ = await loop.create_datagram_endpoint(
                lambda: _Flows(self), sock=self._socket
            )

    def choose(self) -> Target | None:
        """Return a target, if there is any."""
        return CHANCE.choice(self.targets) if self.targets else None

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self.choose()
        try:
            if target is None:
                raise ConnectionRefusedError
            client = writer.get_extra_info("peername")[0]
            upstream = await asyncio.open_connection(
                *target.where, local_addr=target.source(client)
            )
        except OSError:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return
        await splice((reader, writer), upstream)


class _Flows(asyncio.DatagramProtocol):
    """The UDP side: a socket of its own for each client."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._upstreams: dict[Where, asyncio.Future[asyncio.DatagramTransport]] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.DatagramTransport = transport

    def connection_lost(self, _: Exception | None) -> None:
        for upstream in self._upstreams.values():
            if upstream.done() and not upstream.cancelled() and not upstream.exception():
                upstream.result().close()

    def datagram_received(self, data: bytes, client: Where) -> None:
        upstream = self._upstreams.get(client)
        if upstream is None:
            upstream = asyncio.ensure_future(self._open(client))
            self._upstreams[client] = upstream
        upstream.add_done_callback(lambda opened: _send(opened, data))

    async def _open(self, client: Where) -> asyncio.DatagramTransport:
        target = self._forwarder.choose()
        try:
            if target is None:
                raise ConnectionRefusedError
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Upstream(self, client),
                remote_addr=target.where,
                local_addr=target.source(client[0]),
            )
        except OSError as error:
            _log.debug("UDP from %s to %s: %s", client, target, error)
            self.forget(client)
            raise
        return transport

    def forget(self, client: Where) -> None:
        """Have the next datagram of a client choose again."""
        self._upstreams.pop(client, None)


class _Upstream(asyncio.DatagramProtocol):
    def __init__(self, flows: _Flows, client: Where) -> None:
        self._flows = flows
        self._client = client
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport
        self._rest()

    def datagram_received(self, data: bytes, _: Where) -> None:
        self._rest()
        if not self._flows.transport.is_closing():
            self._flows.transport.sendto(data, self._client)

    def error_received(self, _: Exception) -> None:
        self._transport.close()  # nobody listens there now

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._flows.forget(self._client)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_IDLE, self._transport.close)


def _send(opened: asyncio.Future[asyncio.DatagramTransport], data: bytes) -> None:
    if not opened.cancelled() and opened.exception() is None:
        opened.result().sendto(data)


async def splice(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    other: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Pass on what comes, both ways, until both have ended."""
    try:
        await asyncio.gather(_copy(one[0], other[1]), _copy(other[0], one[1]))
    finally:
        one[1].close()
        other[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:  # one side is gone: so is the other
        writer.close()
