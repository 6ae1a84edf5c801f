"""A FastAPI backend: who asks for a match is told what to dial.

On the cluster that kubectl uses: ``GAME_SERVER_IMAGE=... fastapi run examples/fastapi_backend.py``,
with as many ``--workers`` as you like: they share the fleet. Then
``curl -X PUT localhost:8000/matches/42``, from any number of players: they get one server.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

from podfleet import (
    AllocationError,
    AsyncFleet,
    AsyncFleetServer,
    GameServerTemplate,
    HostPort,
    NodeAddress,
    Port,
    PortPool,
)

fleet = AsyncFleet(
    "fastapi",
    template=GameServerTemplate(
        image=os.environ.get("GAME_SERVER_IMAGE", "ghcr.io/acme/arena:1.4"),
        ports=[Port("game", 7777, "UDP")],
    ),
    exposure=HostPort(PortPool(7200, 7299), address=NodeAddress(internal=True)),
    ready=2,
    namespace=os.environ.get("NAMESPACE"),  # by default that of kubectl
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Keep the fleet running while the backend does."""
    async with fleet:
        yield


app = FastAPI(lifespan=lifespan)


@app.put("/matches/{match}")
async def start(match: int) -> dict[str, str]:
    """Return the match's server; ask again after a lost answer, and it is the same."""
    try:
        return told(await fleet.allocate(session=f"match-{match}", timeout=30))
    except AllocationError as error:
        again = {"Retry-After": "5"}
        raise HTTPException(503, "no server is free: try again", again) from error


@app.get("/matches/{match}")
async def look(match: int) -> dict[str, str]:
    """Return the match's server, if it has one."""
    server = await fleet.find(f"match-{match}")
    if server is None:
        raise HTTPException(404, "this match is not running")
    return told(server)


@app.delete("/matches/{match}", status_code=204)
async def end(match: int) -> None:
    """End the match; twice does no harm."""
    server = await fleet.find(f"match-{match}")
    if server is not None:
        await server.release()


def told(server: AsyncFleetServer) -> dict[str, str]:
    """Return what players are told."""
    return {"server": server.name, "endpoint": str(server.endpoint)}
