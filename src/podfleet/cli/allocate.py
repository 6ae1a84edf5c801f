"""`podfleet allocate`: a server by hand."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from podfleet.cli.output import Format, Output, print_json
from podfleet.cli.servers import as_json
from podfleet.cli.visit import visited
from podfleet.cli.where import Context, Kubeconfig, Namespace
from podfleet.fleet import AsyncFleet, AsyncFleetGroup, AsyncFleetServer

__all__ = ["allocate"]


def allocate(
    reference: Annotated[
        str, typer.Argument(metavar="MODULE:FLEET", help="The fleet, or a group.")
    ],
    session: Annotated[
        str | None,
        typer.Option(
            "--session", "-s", metavar="NAME", help="What for. Asked again: the same server."
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait.")] = 60.0,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
    output: Output = Format.TEXT,
) -> None:
    """Take a server, as your backend does.

    Its name and its endpoints are printed. It is yours until "podfleet release". If there is none
    to be had, nothing is left behind.
    """
    fleet = visited(reference, kubeconfig, context, namespace)
    server = asyncio.run(_allocated(fleet, session, timeout))
    if output is Format.JSON:
        print_json(as_json(server))
    else:
        typer.echo("  ".join([server.name, *map(str, server.endpoints)]))


async def _allocated(
    fleet: AsyncFleet | AsyncFleetGroup, session: str | None, timeout: float
) -> AsyncFleetServer:
    # Not entered: that would wait for the cluster by a time of its own.
    try:
        return await fleet.allocate(session, timeout=timeout)
    finally:
        await fleet.stop()
