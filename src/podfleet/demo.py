"""What `podfleet demo` plays: a fleet of servers that echo, and a backend that has matches on them.

From another terminal ``podfleet allocate podfleet.demo:fleet`` takes a server of it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from podfleet.errors import PodfleetError
from podfleet.exposure import HostPort
from podfleet.fleet import AsyncFleet
from podfleet.local import ServerContext
from podfleet.local.echo import Sockets
from podfleet.model import GameServerTemplate, Port
from podfleet.ports import PortPool

__all__ = ["IMAGE", "fleet", "have_matches", "server"]

IMAGE = "podfleet.demo/echo:1"
"""What the embedded cluster runs `server` as."""

_PORT = 7777
_BETWEEN = 4.0  # seconds from the begin of one match to that of the next
_LASTS = 20.0  # seconds

fleet = AsyncFleet(
    "demo",
    template=GameServerTemplate(image=IMAGE, ports=[Port("game", _PORT, "TCPUDP")]),
    exposure=HostPort(PortPool(27000, 27099)),
    ready=3,
)


async def server(context: ServerContext) -> None:
    """Be a game server: answer every datagram, and every line, with the server's name first."""
    sockets = Sockets()
    try:
        await sockets.echo(context.where(_PORT), context.name)
        await asyncio.Event().wait()
    finally:
        sockets.close()


async def have_matches(tell: Callable[[str], None]) -> None:
    """Be a backend: a match begins every few seconds, on a server of its own, and ends.

    Args:
        tell: Called with a line for each of these.
    """
    async with asyncio.TaskGroup() as running:
        for number in itertools.count(1):
            running.create_task(_match(f"match-{number}", tell))
            await asyncio.sleep(_BETWEEN)


async def _match(session: str, tell: Callable[[str], None]) -> None:
    try:
        taken = await fleet.allocate(session, timeout=30)
        tell(f"{session} begins: {taken.name} at {taken.endpoint}")
        await asyncio.sleep(_LASTS)
        await taken.release()
        tell(f"{session} is over: {taken.name} is released")
    except PodfleetError as error:  # somebody tries what happens then; the next match may go well
        tell(f"{session}: {error}")
