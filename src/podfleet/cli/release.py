"""`podfleet release`: end a match by hand."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from podfleet.cli.load import fleets_of
from podfleet.cli.servers import clean
from podfleet.cli.visit import visited
from podfleet.cli.where import Context, Kubeconfig, Namespace
from podfleet.errors import ConfigurationError, NotFound
from podfleet.fleet import AsyncFleet, AsyncFleetGroup, AsyncFleetServer
from podfleet.model.names import check_server_name

__all__ = ["release"]


def release(
    reference: Annotated[
        str, typer.Argument(metavar="MODULE:FLEET", help="The fleet, or a group.")
    ],
    server: Annotated[
        str | None, typer.Argument(metavar="SERVER", help="The server's name.")
    ] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", metavar="NAME", help="Or the session that has it."),
    ] = None,
    recycle: Annotated[
        bool, typer.Option("--recycle", help="Keep the server for another match.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """End a match.

    Its server is told to end, and is deleted. Of a server that sessions share, only the session
    leaves.
    """
    if (server is None) == (session is None):
        raise ConfigurationError("SERVER", server, "name a server, or a --session: one of them")
    if server is not None:
        check_server_name("SERVER", server)
    fleet = visited(reference, kubeconfig, context, namespace)
    released = asyncio.run(_released(fleet, server, session, recycle))
    typer.echo(f"{released} is released" + (", and kept" if recycle else ""))


async def _released(
    fleet: AsyncFleet | AsyncFleetGroup, name: str | None, session: str | None, recycle: bool
) -> str:
    async with fleet:
        if session is not None:
            found = await fleet.find(session)
            if found is None:
                raise _missing(f"session {clean(session)} has no server in {fleet.name}")
        else:
            found = await _named(fleet, str(name))
        await fleet.release(found, recycle=recycle)
    return found.name


async def _named(fleet: AsyncFleet | AsyncFleetGroup, name: str) -> AsyncFleetServer:
    for one in fleets_of(fleet):
        try:
            return await one.get(name)
        except NotFound:
            continue
    raise _missing(f"{fleet.name} has no server {name}")


def _missing(what: str) -> NotFound:
    return NotFound(f"{what}: podfleet ls lists those there are", status=404, reason="NotFound")
