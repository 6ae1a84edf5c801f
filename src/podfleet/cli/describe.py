"""`podfleet describe`: one server, in words."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from attrs import asdict

from podfleet.cli.output import Format, Output, print_json
from podfleet.cli.servers import age, as_json, clean
from podfleet.cli.visit import connected
from podfleet.cli.where import Context, Kubeconfig, Namespace, cluster_of
from podfleet.errors import NotFound
from podfleet.kube.paths import pods
from podfleet.model import Diagnosis, GameServer, ServerState
from podfleet.model.manifest import labels_of
from podfleet.model.names import FLEET, SLOTS, check_server_name
from podfleet.model.server import server_from_pod
from podfleet.waiters.diagnosis import is_ready
from podfleet.waiters.watching import explain

__all__ = ["describe", "words"]

_STATES = {
    ServerState.STARTING: "is starting",
    ServerState.READY: "is ready, and nobody's",
    ServerState.RESERVED: "is reserved",
    ServerState.ALLOCATED: "is allocated",
    ServerState.ENDED: "has ended",
    ServerState.STOPPING: "is being deleted",
}


def describe(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="The server's name.")],
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
    output: Output = Format.TEXT,
) -> None:
    """Say how a server is doing.

    If it is not ready, it says why, and what to do, with the cluster's warnings about it and the
    last lines of its log.
    """
    check_server_name("SERVER", server)
    found, diagnosis = asyncio.run(_seen(server, kubeconfig, context, namespace))
    if output is Format.JSON:
        print_json(as_json(found) | {"diagnosis": _as_json(diagnosis)})
    else:
        typer.echo(words(found, diagnosis, datetime.now(UTC)))


async def _seen(
    name: str, kubeconfig: Path | None, context: str | None, namespace: str | None
) -> tuple[GameServer, Diagnosis | None]:
    async with connected(cluster_of(kubeconfig, context), namespace) as (client, place):
        missing = f"there is no server {place}/{name}: podfleet ls lists those there are"
        try:
            pod = await client.get(pods(place, name))
        except NotFound as error:
            raise NotFound(missing, status=404, reason="NotFound") from error
        if FLEET not in labels_of(pod):
            raise NotFound(missing, status=404, reason="NotFound")
        diagnosis = await explain(client, pod)
    return server_from_pod(pod, (), ready=is_ready(pod)), diagnosis


def words(server: GameServer, diagnosis: Diagnosis | None, now: datetime) -> str:
    """Return a server in sentences. Pure."""
    place = f"on node {server.node}" if server.node else "on no node yet"
    lines = [
        f"{server.name} of fleet {server.labels[FLEET]} {_STATES[server.state]}, {place}.",
        f"It was made {age(server.created, now)} ago.",
    ]
    if SLOTS in server.annotations:
        lines += [
            f"Session {clean(session)} has {slots} of its {server.slots} slots."
            for session, slots in server.sessions.items()
        ]
    elif server.session:
        since = f", {age(server.allocated, now)} ago" if server.allocated else ""
        lines.append(f"It was allocated for session {clean(server.session)}{since}.")
    if server.restarts:
        often = "once" if server.restarts == 1 else f"{server.restarts} times"
        lines.append(f"Its process was restarted {often}.")
    if server.unreachable_since:
        silent = age(server.unreachable_since, now)
        lines.append(f"Its node has not reported for {silent}: it may be gone, or run on unseen.")
    if diagnosis is not None and server.state is not ServerState.STOPPING:
        lines += ["It is not ready:", *map(clean, str(diagnosis).splitlines())]
    return "\n".join(lines)


def _as_json(diagnosis: Diagnosis | None) -> dict[str, Any] | None:
    if diagnosis is None:
        return None
    return asdict(diagnosis) | {"verdict": diagnosis.verdict.value}
