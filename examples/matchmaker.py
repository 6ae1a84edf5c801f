"""A matchmaker: players queue, each few of them get a server, which is released after the match.

On the cluster that kubectl uses: ``GAME_SERVER_IMAGE=... python examples/matchmaker.py`` plays
three matches of two seconds.
"""

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable

from attrs import frozen

from podfleet import (
    AllocationError,
    AsyncFleet,
    AsyncFleetServer,
    Endpoint,
    GameServerTemplate,
    HostPort,
    NodeAddress,
    PodfleetError,
    Port,
    PortPool,
    ServerError,
    TransportError,
)

ATTEMPTS = 5


@frozen(eq=False)
class Ticket:
    """A player who waits, and what is going to be told."""

    player: str
    endpoint: asyncio.Future[Endpoint]


class Matchmaker:
    """Gives every few players a server.

    Args:
        fleet: Where servers come from. It runs.
        size: How many players a match has.
        played: Returns when the match on a server is over.
    """

    def __init__(
        self,
        fleet: AsyncFleet,
        size: int,
        played: Callable[[AsyncFleetServer], Awaitable[None]],
    ) -> None:
        self.fleet = fleet
        self.size = size
        self.played = played
        self.queue: asyncio.Queue[Ticket] = asyncio.Queue()

    async def join(self, player: str) -> Endpoint:
        """Wait for a match, and return what to dial; be cancelled to leave the queue.

        Raises:
            PodfleetError: There is no server for this match.
        """
        ticket = Ticket(player, asyncio.get_running_loop().create_future())
        await self.queue.put(ticket)
        return await ticket.endpoint

    async def run(self) -> None:
        """Make matches until cancelled; those that run are ended then."""
        async with asyncio.TaskGroup() as matches:
            while True:
                matches.create_task(self._match(await self._gather()))

    async def _gather(self) -> list[Ticket]:
        tickets: list[Ticket] = []
        while len(tickets) < self.size:
            tickets.append(await self.queue.get())
            tickets = [ticket for ticket in tickets if not ticket.endpoint.cancelled()]
        return tickets

    async def _match(self, tickets: list[Ticket]) -> None:
        try:
            server = await allocate(self.fleet, f"match-{uuid.uuid4().hex}")
        except PodfleetError as error:
            for ticket in tickets:
                if not ticket.endpoint.done():
                    ticket.endpoint.set_exception(error)
            return
        try:
            for ticket in tickets:
                if not ticket.endpoint.done():
                    ticket.endpoint.set_result(server.endpoint)
            await self.played(server)
        finally:
            await server.release()


async def allocate(fleet: AsyncFleet, session: str) -> AsyncFleetServer:
    """Allocate, and try again what may work later.

    It is always the same session: if an attempt came through and only its answer was lost, the
    next one returns that server, and no second one is started.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return await fleet.allocate(session, timeout=30)
        except (AllocationError, ServerError, TransportError):
            await asyncio.sleep(attempt)  # seconds
    return await fleet.allocate(session, timeout=30)


async def main() -> None:
    """Play three matches of two players."""
    template = GameServerTemplate(
        image=os.environ.get("GAME_SERVER_IMAGE", "ghcr.io/acme/arena:1.4"),
        ports=[Port("game", 7777, "UDP")],
    )
    exposure = HostPort(PortPool(7400, 7499), address=NodeAddress(internal=True))

    async def two_seconds(_: AsyncFleetServer) -> None:
        await asyncio.sleep(2)

    async def play(player: str) -> None:
        print(f"{player} dials {await matchmaker.join(player)}")

    async with AsyncFleet("matchmaker", template=template, exposure=exposure, ready=1) as fleet:
        matchmaker = Matchmaker(fleet, 2, two_seconds)
        running = asyncio.create_task(matchmaker.run())
        await asyncio.gather(*(play(f"player-{number}") for number in range(6)))
        running.cancel()
        await asyncio.wait([running])


if __name__ == "__main__":
    asyncio.run(main())
