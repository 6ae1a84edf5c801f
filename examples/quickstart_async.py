"""Allocate servers for two matches at once, print what their players dial, release them.

On the cluster that kubectl uses: ``GAME_SERVER_IMAGE=... python examples/quickstart_async.py``.
"""

import asyncio
import os

from podfleet import AsyncFleet, GameServerTemplate, HostPort, NodeAddress, Port, PortPool

fleet = AsyncFleet(
    "quickstart-async",
    template=GameServerTemplate(
        image=os.environ.get("GAME_SERVER_IMAGE", "ghcr.io/acme/arena:1.4"),
        ports=[Port("game", 7777, "UDP")],
    ),
    exposure=HostPort(PortPool(7100, 7199), address=NodeAddress(internal=True)),
    namespace=os.environ.get("NAMESPACE"),  # by default that of kubectl
)


async def play(match: str) -> None:
    """Run one match."""
    server = await fleet.allocate(session=match, timeout=60)  # seconds
    print(f"{server.session}: dial {server.endpoint}")
    await server.release()


async def main() -> None:
    """Run two matches at once."""
    async with fleet:
        await asyncio.gather(play("match-red"), play("match-blue"))


if __name__ == "__main__":
    asyncio.run(main())
