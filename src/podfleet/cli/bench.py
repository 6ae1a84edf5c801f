"""`podfleet bench`: how fast servers are allocated, on the user's own cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from podfleet.bench import Comparison, Figures, Plan, measure
from podfleet.cli.output import Format, Output, columns, print_json
from podfleet.cli.plot import Plot
from podfleet.cli.visit import visited
from podfleet.cli.where import Context, Kubeconfig, Namespace
from podfleet.errors import ConfigurationError
from podfleet.fleet import AsyncFleet
from podfleet.fleet.spec import FleetSpec
from podfleet.fleet.tend import until_told

__all__ = ["bench", "report"]

_INTERRUPTED = 130


def bench(
    reference: Annotated[str, typer.Argument(metavar="MODULE:FLEET", help="The fleet.")],
    count: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="How many allocations.")
    ] = 200,
    in_flight: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="How many of them at once.")
    ] = 1,
    servers: Annotated[
        int,
        typer.Option(
            min=1,
            max=100,
            metavar="N",
            help="How many warm servers, which are allocated again and again; as many Pods are "
            "made beside.",
        ),
    ] = 10,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long they may take to be ready.")
    ] = 120.0,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw it there: .png, .svg or .pdf."),
    ] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
    output: Output = Format.TEXT,
) -> None:
    """Measure how fast servers are allocated.

    Warm servers of the fleet's template are allocated, beside as many plain PATCHes of Pods like
    them, in turns. The fleet itself is left alone: the servers are of a fleet of their own, which
    nobody can reach, and are deleted at the end.
    """
    if in_flight > servers:
        raise ConfigurationError(
            "--in-flight", in_flight, f"must be at most as many as --servers: {servers}"
        )
    plotted = None if plot is None else Plot(plot)
    spec = _spec(reference, kubeconfig, context, namespace)
    plan = Plan(count=count, in_flight=in_flight, servers=servers, timeout=timeout)
    measured = asyncio.run(_measured(spec, plan))
    if measured is None:
        raise typer.Exit(_INTERRUPTED)
    title = (
        f"fleet {spec.name}: {plan.count} allocations of {plan.servers} warm servers, "
        f"{plan.in_flight} in flight"
    )
    if output is Format.JSON:
        print_json(
            {
                "fleet": spec.name,
                "count": plan.count,
                "in_flight": plan.in_flight,
                "servers": plan.servers,
                "patch": measured.patch.to_json(),
                "allocate": measured.allocate.to_json(),
                "ratio": measured.ratio,
            }
        )
    else:
        typer.echo(f"{title}\n\n{report(measured)}")
    if plotted is not None:
        plotted.draw(measured, title)


def _spec(
    reference: str, kubeconfig: Path | None, context: str | None, namespace: str | None
) -> FleetSpec:
    fleet = visited(reference, kubeconfig, context, namespace)
    if not isinstance(fleet, AsyncFleet):
        raise ConfigurationError("MODULE:FLEET", reference, "is a group: name one of its fleets")
    if fleet.spec.workload is not None:
        raise ConfigurationError(
            "MODULE:FLEET",
            reference,
            "its servers are a StatefulSet's: with its rights no Pods can be made to measure",
        )
    return fleet.spec


async def _measured(spec: FleetSpec, plan: Plan) -> Comparison | None:
    """Return what was measured; ``None`` if it was told to end."""
    found: list[Comparison] = []

    async def work() -> None:
        found.append(await measure(spec, plan, lambda line: typer.echo(line, err=True)))

    await until_told(work())
    return found[0] if found else None


def report(measured: Comparison) -> str:
    """Return the table. Pure."""
    ratio = measured.ratio
    return columns(
        ("", "p50", "p99", "rate"),
        [
            ("PATCH", *_cells(measured.patch)),
            ("allocate", *_cells(measured.allocate)),
            ("ratio", *(f"{ratio[name]:.2f}" for name in ("p50", "p99", "rate"))),
        ],
    )


def _cells(figures: Figures) -> tuple[str, str, str]:
    return (
        f"{figures.p50 * 1000:.2f} ms",
        f"{figures.p99 * 1000:.2f} ms",
        f"{figures.rate:.0f}/s",
    )
