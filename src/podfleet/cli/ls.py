"""`podfleet ls`: the servers that there are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from podfleet.cli.load import fleets_of, load
from podfleet.cli.output import Format, Output, print_json
from podfleet.cli.servers import as_json, table
from podfleet.cli.visit import connected
from podfleet.cli.where import Context, Kubeconfig, Namespace, cluster_of, move
from podfleet.fleet import AsyncFleet
from podfleet.fleet.exposer import Exposer
from podfleet.fleet.nodes import Nodes
from podfleet.kube import KubeClient, Store
from podfleet.kube.paths import pods
from podfleet.model import GameServer, Manifest
from podfleet.model.manifest import is_named, name_of
from podfleet.model.names import FLEET, check_fleet_name
from podfleet.model.readable import unreadable_pod
from podfleet.model.server import server_from_pod
from podfleet.waiters.diagnosis import is_ready

__all__ = ["ls"]


def ls(
    fleet: Annotated[
        str | None,
        typer.Argument(
            metavar="FLEET",
            help="A fleet by its name in the cluster; or as module:fleet, and its endpoints are "
            "shown. By default all fleets of the namespace.",
        ),
    ] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
    output: Output = Format.TEXT,
) -> None:
    """List the servers, the oldest first.

    The endpoint is shown where your code is there to say how players reach a server: name the
    fleet as module:fleet.
    """
    servers = asyncio.run(_listed(fleet, kubeconfig, context, namespace))
    servers.sort(key=lambda server: (server.created, server.name))
    if output is Format.JSON:
        print_json([as_json(server) for server in servers])
    elif servers:
        typer.echo(table(servers, datetime.now(UTC)))
    else:
        typer.echo("no servers", err=True)


async def _listed(
    fleet: str | None, kubeconfig: Path | None, context: str | None, namespace: str | None
) -> list[GameServer]:
    cluster = cluster_of(kubeconfig, context)
    if fleet is not None and ":" in fleet:
        own = fleets_of(load(fleet))
        for one in own:
            move(one, cluster, namespace)
        return [server for one in own for server in await _with_endpoints(one)]
    selector = FLEET if fleet is None else f"{FLEET}={check_fleet_name('FLEET', fleet)}"
    async with connected(cluster, namespace) as (client, place):
        found = await _pods(client, place, selector)
    return [server_from_pod(pod, (), ready=is_ready(pod)) for pod in found]


async def _with_endpoints(fleet: AsyncFleet) -> list[GameServer]:
    """Return a fleet's servers, without starting it: nothing is written."""
    spec = fleet.spec
    async with connected(spec.cluster, spec.namespace) as (client, place):
        nodes = Nodes(spec, client, {})
        exposer = Exposer(spec, client, Store(), place, nodes)
        try:
            return [
                server_from_pod(pod, await exposer.shown(pod, fresh=True), ready=is_ready(pod))
                for pod in await _pods(client, place, spec.selector)
            ]
        finally:
            await nodes.stop()


async def _pods(client: KubeClient, namespace: str, selector: str) -> Sequence[Manifest]:
    found = []
    async for pod in client.objects(pods(namespace), {"labelSelector": selector}):
        if (reason := unreadable_pod(pod)) is None:
            found.append(pod)
        else:
            name = name_of(pod) if is_named(pod) else "an object without a name"
            typer.echo(f"{name}: not listed, for it cannot be read: {reason}", err=True)
    return found
