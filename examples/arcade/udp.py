"""Players over UDP: the same match, by datagrams."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import cast

from attrs import define

from arcade.protocol import aim_from, hello_from, parse
from arcade.room import Full, Room, Seat, Send

__all__ = ["Players"]

SILENCE = 3.0  # seconds: UDP does not say when somebody goes

Address = tuple[str, int]


@define
class Player:
    """Somebody who sends datagrams from one address."""

    seat: Seat
    send: Send
    heard: float


class Players(asyncio.DatagramProtocol):
    """Talks with all players over UDP.

    Every datagram of a player's says everything, as any may be lost: who it is, where it goes,
    and the token that it was given. The token shows that it gets what is sent to its address:
    else a stranger could have thirty updates a second sent to somebody else.

    Args:
        room: The match.
        is_match: Tells whether a session is the match played here.
    """

    def __init__(self, room: Room, is_match: Callable[[str], Awaitable[bool]]) -> None:
        self._room = room
        self._is_match = is_match
        self._secret = secrets.token_bytes(16)
        self._players: dict[Address, Player] = {}
        self._work: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._clearing = asyncio.create_task(self._clear())

    def connection_lost(self, error: Exception | None) -> None:
        """End with the socket."""
        self._clearing.cancel()

    def datagram_received(self, data: bytes, address: Address) -> None:
        """Hear a player."""
        try:
            message = parse(data)
            if not hmac.compare_digest(str(message.get("token", "")), self._token(address)):
                self._send(address, json.dumps({"token": self._token(address)}))
                return
            where = aim_from(message)
            player = self._players.get(address)
            if player is None:
                hello = hello_from(message)
                task = asyncio.create_task(self._join(address, hello.session, message))
                self._work.add(task)
                task.add_done_callback(self._work.discard)
                return
        except (ValueError, TypeError):
            return  # not of our game
        player.heard = time.monotonic()
        self._room.aim(player.seat, where)

    async def _join(self, address: Address, session: str, message: dict[str, object]) -> None:
        if not await self._is_match(session):
            self._send(address, json.dumps({"refused": "another match is played here"}))
            return
        if address in self._players:
            return  # by its datagram before

        def send(text: str) -> None:
            self._send(address, text)

        try:
            seat = self._room.join(hello_from(message), send)
        except Full:
            send(json.dumps({"refused": "the match is full"}))
            return
        self._players[address] = Player(seat, send, time.monotonic())
        send(json.dumps({"you": seat.number}))

    async def _clear(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            for address, player in list(self._players.items()):
                if player.heard < time.monotonic() - SILENCE:
                    self._room.leave(player.seat, player.send)
                    del self._players[address]

    def _send(self, address: Address, text: str) -> None:
        self._transport.sendto(text.encode(), address)

    def _token(self, address: Address) -> str:
        said = f"{address[0]} {address[1]}".encode()
        return hmac.new(self._secret, said, hashlib.sha256).hexdigest()[:16]
