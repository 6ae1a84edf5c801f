"""The game's backend: hands each match its server, and tells what the fleet does.

Any number of processes run it at once: all they share is the cluster.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

from arcade.fleet import make_fleet
from podfleet import AllocationError, FleetEvent, GameServer, PodfleetError

PAGES = Path(__file__).parent / "pages"
LONGEST = 3600.0  # seconds: then the kubelet ends a match, whatever becomes of this backend
REFRESH = 1.0  # seconds between two looks at the fleet while nothing happens

Session = Annotated[str, PathParameter(pattern="^[a-z0-9-]{3,32}$")]
Answer = dict[str, Any]

fleet = make_fleet()


@asynccontextmanager
async def lifespan(application: FastAPI) -> AsyncIterator[None]:
    """Run the fleet as long as the application."""
    note_the_end(application)
    async with fleet:
        yield


def note_the_end(application: FastAPI) -> None:
    """Have the pages' streams end when uvicorn is told to: it would wait for them."""
    application.state.ending = False
    for number in (signal.SIGINT, signal.SIGTERM):
        uvicorns = signal.getsignal(number)

        def end(number: int, frame: FrameType | None, then: Any = uvicorns) -> None:
            application.state.ending = True
            then(number, frame)

        if callable(uvicorns):
            signal.signal(number, end)


app = FastAPI(title="podfleet arcade", lifespan=lifespan)


@app.post("/api/matches/{session}")
async def play(session: Session) -> Answer:
    """Return the server of a match: asked again, and by whomever, it is the same one."""
    server = await fleet.allocate(session=session, timeout=30, limit=LONGEST)
    return shown(server)


@app.get("/api/matches/{session}")
async def find(session: Session) -> Answer:
    """Return the server of a match that is being played."""
    server = await fleet.find(session)
    if server is None:
        raise HTTPException(404, f"There is no match {session}.")
    return shown(server)


@app.delete("/api/matches/{session}", status_code=204)
async def end(session: Session) -> None:
    """End a match."""
    server = await fleet.find(session)
    if server is not None:
        await server.release()


@app.get("/api/fleet")
async def watch() -> StreamingResponse:
    """Tell what the fleet is like, and what happens to it, as server-sent events."""
    return StreamingResponse(
        follow(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def follow() -> AsyncIterator[str]:
    """Yield each event of the fleet, and the whole fleet whenever it has changed."""
    events = fleet.events()
    before = ""
    while not app.state.ending:
        try:
            event = await asyncio.wait_for(anext(events, None), REFRESH)
        except TimeoutError:
            pass
        else:
            if event is None:  # the fleet is stopped
                return
            yield f"event: happened\ndata: {json.dumps(told(event))}\n\n"
        now = json.dumps(await everything())
        if now != before:
            yield f"event: fleet\ndata: {now}\n\n"
        before = now


async def everything() -> Answer:
    """Return the fleet as this backend sees it now."""
    status = await fleet.status()
    return {
        "servers": [shown(server) for server in await fleet.servers()],
        "waiting": status.waiting,
        "heard": round(status.age),
        "worker": os.getpid(),
        "crashable": os.environ.get("ARCADE_CRASHABLE") == "yes",
    }


def shown(server: GameServer) -> Answer:
    """Return what the pages show of a server."""
    endpoint = server.endpoints[0] if server.endpoints else None
    return {
        "name": server.name,
        "state": server.state.value,
        "node": server.node,
        "session": server.session,
        "endpoint": str(endpoint) if endpoint else None,
        "url": endpoint.url("ws", "/") if endpoint else None,
        "created": server.created.timestamp(),
        "allocated": server.allocated.timestamp() if server.allocated else None,
    }


def told(event: FleetEvent) -> Answer:
    """Return what the pages tell of an event."""
    return {
        "kind": event.kind.value,
        "at": event.at.timestamp(),
        "server": event.server.name if event.server else None,
        "session": event.session,
        "reason": event.reason,
    }


@app.exception_handler(PodfleetError)
async def refuse(_: Request, error: PodfleetError) -> JSONResponse:
    """Say why there is no server; whoever asks may try again when there was none to be had."""
    status = 503 if isinstance(error, AllocationError) else 502
    return JSONResponse({"detail": str(error)}, status, headers={"Retry-After": "2"})


@app.get("/match/{session}")
async def match(session: Session) -> FileResponse:  # noqa: ARG001  the page reads it itself
    """Return the page of a match."""
    return FileResponse(PAGES / "match.html")


@app.get("/fleet")
async def fleet_page() -> FileResponse:
    """Return the page that shows the fleet."""
    return FileResponse(PAGES / "fleet.html")


app.mount("/", StaticFiles(directory=PAGES, html=True))
