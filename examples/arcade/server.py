"""The game server: one process, one Pod, one match. Players dial it directly.

``python -m arcade.server`` speaks WebSocket (browsers) and UDP (`arcade.udp_client`) on one port,
7777, and answers the readiness probe there.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from arcade.protocol import MAX_BYTES, aim_from, hello_from, parse
from arcade.room import Full, Room
from arcade.udp import Players
from podfleet.gameserver import Match, current

ADDRESS = os.environ.get("POD_IP", "0.0.0.0")  # noqa: S104  the embedded cluster says which
PORT = int(os.environ.get("PODFLEET_PORT_7777", "7777"))
CRASHABLE = os.environ.get("ARCADE_CRASHABLE") == "yes"  # the demo's button: never for players

EMPTY = float(os.environ.get("ARCADE_EMPTY", "30"))  # seconds without a player end the match
LEARN = 10.0  # seconds for the kubelet to say which match this is

# Why a connection was closed: the pages know these numbers.
OVER, OTHER_MATCH, FULL, NONSENSE = 4000, 4001, 4002, 4003


class GameServer:
    """Serves one match to browsers.

    Args:
        room: The match.
        match: What this server is allocated for, as soon as it is.
    """

    def __init__(self, room: Room, match: asyncio.Future[Match]) -> None:
        self._room = room
        self._match = match

    async def serve(self, connection: ServerConnection) -> None:
        """Talk with one browser until it goes away."""
        try:
            await self._talk(connection)
        except ConnectionClosed:
            pass  # as browsers do
        except ValueError as error:
            await connection.close(NONSENSE, str(error)[:100])
        except Full:
            await connection.close(FULL, "the match is full")

    async def _talk(self, connection: ServerConnection) -> None:
        hello = hello_from(parse(await connection.recv()))
        # A port is used again: who dials a server that is gone may reach another match's.
        if not await self.is_match(hello.session):
            await connection.close(OTHER_MATCH, "another match is played here")
            return

        def send(text: str) -> None:
            broadcast([connection], text)

        if hello.watch:
            self._room.watch(send)
            try:
                async for text in connection:
                    if CRASHABLE and parse(text).get("crash") is True:
                        os.kill(os.getpid(), signal.SIGKILL)
            finally:
                self._room.unwatch(send)
            return
        seat = self._room.join(hello, send)
        try:
            await connection.send(json.dumps({"you": seat.number}))
            async for text in connection:
                message = parse(text)
                if "ping" in message:
                    await connection.send(json.dumps({"pong": message["ping"]}))
                else:
                    self._room.aim(seat, aim_from(message))
        finally:
            self._room.leave(seat, send)

    async def is_match(self, session: str) -> bool:
        """Tell whether a match is the one played here."""
        try:
            match = await asyncio.wait_for(asyncio.shield(self._match), LEARN)
        except TimeoutError:
            return False
        return match.session == session


def probe(connection: ServerConnection, request: Request) -> Response | None:
    """Answer the readiness probe; everything else is a WebSocket."""
    if request.path == "/healthz":
        return connection.respond(HTTPStatus.OK, "ready\n")
    return None


async def allocated() -> Match:
    """Return what this server is allocated for, once it is."""
    while (match := current()) is None:  # noqa: ASYNC110  a file tells it
        await asyncio.sleep(0.1)
    return match


async def until_empty(room: Room) -> None:
    """Return when no player has been there for a while."""
    since = time.monotonic()
    while time.monotonic() - since < EMPTY:
        await asyncio.sleep(0.5)
        if not room.empty:
            since = time.monotonic()


async def main() -> None:
    """Serve one match, and end: exit code 0 says that it is over."""
    loop = asyncio.get_running_loop()
    told_to_end = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told_to_end.set)
    room = Room()
    match: asyncio.Future[Match] = loop.create_future()
    server = GameServer(room, match)
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Players(room, server.is_match), local_addr=(ADDRESS, PORT)
    )
    playing = asyncio.create_task(room.run())

    async def serve_match() -> None:
        match.set_result(await allocated())
        print(f"the match {match.result().session} begins", flush=True)
        await until_empty(room)

    async with serve(
        server.serve, ADDRESS, PORT, process_request=probe, max_size=MAX_BYTES
    ) as listening:
        ends = [asyncio.ensure_future(serve_match()), asyncio.ensure_future(told_to_end.wait())]
        done, _ = await asyncio.wait([*ends, playing], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # an error of ours ends it, with exit code 1: then it is LOST
        listening.close(code=OVER, reason="the match is over")
        await listening.wait_closed()
    transport.close()


if __name__ == "__main__":
    asyncio.run(main())
