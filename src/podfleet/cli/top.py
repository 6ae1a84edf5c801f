"""`podfleet top`: servers, nodes and rates, as they change."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import ConsoleDimensions

from podfleet.cli.live import show
from podfleet.cli.output import columns
from podfleet.cli.servers import HEAD, cells
from podfleet.cli.visit import connected
from podfleet.cli.where import Context, Kubeconfig, Namespace, cluster_of
from podfleet.kube import Reflector, Store
from podfleet.kube.paths import pods
from podfleet.model import GameServer, ServerState
from podfleet.model.names import FLEET, check_fleet_name
from podfleet.model.readable import unreadable_pod
from podfleet.model.server import server_from_pod
from podfleet.waiters.diagnosis import is_ready

__all__ = ["Recent", "top", "view"]

_PERIOD = timedelta(minutes=1)
_START_TIMEOUT = 30.0  # seconds
_SHARE = 4  # one in so many lines is for fleets at the most, and one for nodes


def top(
    fleet: Annotated[
        str | None,
        typer.Argument(
            metavar="FLEET",
            help="A fleet by its name in the cluster; by default all of the namespace.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and end.")] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Watch fleets live: servers, nodes, matches a minute.

    It only reads, by one watch. Ctrl-C ends it. In a pipe it prints once.
    """
    once = once or not sys.stdout.isatty()
    try:
        asyncio.run(_watch(fleet, once, kubeconfig, context, namespace))
    except KeyboardInterrupt:
        return


async def _watch(
    fleet: str | None,
    once: bool,
    kubeconfig: Path | None,
    context: str | None,
    namespace: str | None,
) -> None:
    selector = FLEET if fleet is None else f"{FLEET}={check_fleet_name('FLEET', fleet)}"
    async with connected(cluster_of(kubeconfig, context), namespace) as (client, place):
        store = Store(unreadable=unreadable_pod)
        reflector = Reflector(client, pods(place), {"labelSelector": selector}, store)
        reflector.start()
        try:
            await reflector.wait_synced(_START_TIMEOUT)
            recent = Recent()

            async def shown(size: ConsoleDimensions | None) -> str:
                servers = [server_from_pod(pod, (), ready=is_ready(pod)) for pod in store]
                head = f"namespace {place}, heard {reflector.age:.0f} s ago"
                return f"{head}\n\n{view(servers, recent, datetime.now(UTC), size)}"

            if once:
                typer.echo(await shown(None))
            else:
                await show(shown)
        finally:
            await reflector.stop()


class Recent:
    """Allocations of the last minute, also of servers that are gone since."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, datetime], str] = {}

    def per_minute(self, servers: Sequence[GameServer], now: datetime) -> Counter[str]:
        """Take in the servers that there are; return how many were allocated in each fleet."""
        for server in servers:
            if server.allocated is not None:
                self._seen[server.uid, server.allocated] = server.labels[FLEET]
        self._seen = {one: name for one, name in self._seen.items() if now - one[1] < _PERIOD}
        return Counter(self._seen.values())


def view(
    servers: Sequence[GameServer],
    recent: Recent,
    now: datetime,
    size: ConsoleDimensions | None = None,
) -> str:
    """Return what is shown.

    Args:
        servers: The servers.
        recent: What was allocated.
        now: The time.
        size: Of the terminal, two lines of which are taken; by default all is shown.
    """
    width, height = size or (None, None)
    rate = recent.per_minute(servers, now)
    fleets = Counter((server.labels[FLEET], server.state) for server in servers)
    nodes = Counter((server.node or "-", server.state) for server in servers)
    of_fleets = [
        (name, *(str(fleets[name, state]) for state in ServerState), str(rate[name]))
        for name in sorted({name for name, _ in fleets} | set(rate))
    ]
    of_nodes = [
        (
            name,
            str(sum(count for (on, _), count in nodes.items() if on == name)),
            str(nodes[name, ServerState.ALLOCATED]),
        )
        for name in sorted({name for name, _ in nodes})
    ]
    youngest = sorted(servers, key=lambda server: server.allocated or server.created, reverse=True)
    of_servers = [cells(server, now) for server in youngest]
    share = height and height // _SHARE
    blocks = [
        _block(
            ("fleet", *(state.value for state in ServerState), "alloc/min"), of_fleets, share, width
        ),
        _block(("node", "servers", "allocated"), of_nodes, share, width),
    ]
    used = 2 + sum(block.count("\n") + 2 for block in blocks)
    room = height and max(0, height - used - 2)
    return "\n\n".join((*blocks, _block(HEAD, of_servers, room, width)))


def _block(
    head: Sequence[str], rows: Sequence[Sequence[str]], room: int | None, width: int | None
) -> str:
    """Return the rows for which there is room, and how many more there are."""
    shown = columns(head, rows[:room], width)
    left = 0 if room is None else len(rows) - room
    return f"{shown}\n... and {left} more" if left > 0 else shown
