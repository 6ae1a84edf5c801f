"""`Sockets`: what a small game server in this process listens on: it echoes, its name first."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

from podfleet.local.network.connections import Connections, Talk

__all__ = ["Sockets"]


class Sockets:
    """Sockets that are closed together, whatever becomes of what is made of them."""

    def __init__(self) -> None:
        self._open: list[socket.socket | asyncio.Server | asyncio.DatagramTransport] = []
        self._connections = Connections()

    async def echo(self, where: tuple[str, int], name: str) -> None:
        """Answer every line over TCP, and every datagram over UDP, with the name before it."""
        await self.serve(where, _echo(name))
        self._open.append(datagrams := _bound(socket.SOCK_DGRAM, where))
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _EchoDatagrams(name.encode()), sock=datagrams
        )
        self._open.append(transport)

    async def serve(self, where: tuple[str, int], talk: Talk) -> None:
        """Talk to whoever connects over TCP."""

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.IncompleteReadError):  # the client went
                await talk(reader, writer)

        self._open.append(listening := _bound(socket.SOCK_STREAM, where))
        serving = self._connections.serving(converse)
        # Cancelled while it begins to serve, it is closed as it is later: the loop forgets it.
        server = await asyncio.start_server(serving, sock=listening, start_serving=False)
        self._open.append(server)
        await server.start_serving()

    def close(self) -> None:
        """Close all."""
        self._connections.close()
        # A server before its socket: it takes it from the loop.
        for one in reversed(self._open):
            one.close()


def _bound(kind: socket.SocketKind, where: tuple[str, int]) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.setblocking(False)
    if kind == socket.SOCK_STREAM:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(where)
    except OSError:
        opened.close()
        raise
    return opened


def _echo(name: str) -> Talk:
    async def lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(name.encode() + b" " + line)
            await writer.drain()

    return lines


class _EchoDatagrams(asyncio.DatagramProtocol):
    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, client: Any) -> None:
        self._transport.sendto(self._name + b" " + data, client)
