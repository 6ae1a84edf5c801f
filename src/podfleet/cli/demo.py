"""`podfleet demo`: a cluster, a fleet and matches, on nothing but this machine."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import ConsoleDimensions

from podfleet.cli.live import show
from podfleet.cli.top import Recent, view
from podfleet.cli.where import move
from podfleet.demo import IMAGE, fleet, have_matches, server
from podfleet.fleet.tend import until_told
from podfleet.local import LocalCluster, Node

__all__ = ["demo"]

_SAID = 3  # lines of what happens, above what there is
_WORDS = """\
A Kubernetes cluster in this process: 3 servers are kept ready, and matches come and go.
From another terminal:

    export KUBECONFIG={kubeconfig}
    podfleet top
    podfleet allocate podfleet.demo:fleet --session mine
    podfleet release podfleet.demo:fleet --session mine

Dial an endpoint, over UDP or TCP, and its server answers: nc -u HOST PORT. Ctrl-C ends it.
"""


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="SECONDS", help="End by itself after so long."),
    ] = None,
) -> None:
    """Show a fleet without a cluster.

    A cluster is started in this process, with a fleet of small game servers and a backend that
    allocates and releases them. Its kubeconfig is printed: try the other commands on it. Ctrl-C
    ends it, and nothing is left.
    """
    with LocalCluster({IMAGE: server}, nodes=_nodes()) as cluster:
        move(fleet, cluster.cluster, None)
        asyncio.run(_play(cluster.kubeconfig, seconds))


def _nodes() -> list[Node]:
    """Return two nodes, where each can have addresses of its own."""
    return [Node(name="saturn"), Node(name="venus")][: 2 if sys.platform == "linux" else 1]


async def _play(kubeconfig: Path, seconds: float | None) -> None:
    words = _WORDS.format(kubeconfig=kubeconfig)
    shown = _on_terminal if sys.stdout.isatty() else _in_lines
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until_told(shown(words))


async def _in_lines(words: str) -> None:
    typer.echo(words)
    async with fleet:
        await have_matches(typer.echo)


async def _on_terminal(words: str) -> None:
    recent, said = Recent(), deque[str](maxlen=_SAID)

    async def text(size: ConsoleDimensions) -> str:
        above = "\n".join((words, *said, ""))
        left = ConsoleDimensions(size.width, size.height - above.count("\n") - 1)
        return f"{above}\n{view(await fleet.servers(), recent, datetime.now(UTC), left)}"

    async with fleet, asyncio.TaskGroup() as playing:
        playing.create_task(have_matches(said.append))
        await show(text)
