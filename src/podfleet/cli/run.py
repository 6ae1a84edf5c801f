"""`podfleet run`: tend fleets in a process of their own."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Annotated

import typer

from podfleet.cli.load import fleets_of, load
from podfleet.cli.where import Context, Kubeconfig, Namespace, cluster_of, move
from podfleet.errors import ConfigurationError
from podfleet.fleet import AsyncFleet
from podfleet.fleet.tend import tend
from podfleet.log import about

__all__ = ["run"]

_log = logging.getLogger("podfleet.run")


def run(
    references: Annotated[
        list[str], typer.Argument(metavar="MODULE:FLEET", help="The fleets to tend.")
    ],
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            metavar="PORT",
            help="Serve /metrics for Prometheus, and /healthz for probes, on this port.",
        ),
    ] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Tend fleets: keep their servers ready, roll out, clean up.

    It runs until it is told to end, by SIGTERM or Ctrl-C. The servers keep running.

    Run two of them, as the Deployment does that "podfleet manifests --tender" prints: one tends,
    and the other takes over when it dies.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    fleets = list(dict.fromkeys(one for name in references for one in fleets_of(load(name))))
    for fleet in fleets:
        move(fleet, cluster_of(kubeconfig, context), namespace)
    asyncio.run(_tend(fleets, metrics_port))


async def _tend(fleets: Sequence[AsyncFleet], port: int | None) -> None:
    async with AsyncExitStack() as stack:
        if port is not None:
            await stack.enter_async_context(_served(port, fleets))
            _log.info("serving /metrics and /healthz on port %s", port)
        for fleet in fleets:
            none = "" if fleet.spec.ready is not None else ", but no servers are kept: no ready="
            _log.info(
                "fleet %s: tended from here%s", fleet.name, none, extra=about(fleet=fleet.name)
            )
        await tend(fleets)
    _log.info("told to end: the next one can tend at once; the servers keep running")


def _served(port: int, fleets: Sequence[AsyncFleet]) -> AbstractAsyncContextManager[None]:
    try:
        from podfleet.cli.health import serving
    except ImportError as error:
        raise ConfigurationError("--metrics-port", port, str(error)) from error
    return serving(port, fleets)
