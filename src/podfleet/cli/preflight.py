"""`podfleet preflight`: what would keep fleets from working."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from podfleet.cli.exits import FOUND
from podfleet.cli.load import fleets_of, load
from podfleet.cli.output import Format, Output, print_json
from podfleet.cli.where import Context, Kubeconfig, Namespace, cluster_of, move
from podfleet.fleet import AsyncFleet
from podfleet.model import Finding

__all__ = ["preflight"]


def preflight(
    references: Annotated[
        list[str], typer.Argument(metavar="MODULE:FLEET", help="The fleets, or groups of them.")
    ],
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
    output: Output = Format.TEXT,
) -> None:
    """Say what would keep fleets from working, and how to fix it.

    It looks for missing rights, for whatever refuses the fleet's objects (by dry runs), missing
    APIs, nodes without a usable address. It writes nothing. It ends with 1 if it finds anything.
    """
    fleets = [fleet for one in references for fleet in fleets_of(load(one))]
    for fleet in fleets:
        move(fleet, cluster_of(kubeconfig, context), namespace)
    found = asyncio.run(_look(fleets))
    if output is Format.JSON:
        print_json(
            [
                {
                    "fleet": name,
                    "what": one.what,
                    "why": one.why,
                    "remedy": one.remedy,
                    "advice": one.advice,
                }
                for name, findings in found
                for one in findings
            ]
        )
    else:
        for name, findings in found:
            typer.echo(_words(name, findings))
    if any(findings for _, findings in found):
        raise typer.Exit(FOUND)


async def _look(fleets: list[AsyncFleet]) -> list[tuple[str, tuple[Finding, ...]]]:
    return [(fleet.name, await fleet.preflight()) for fleet in fleets]


def _words(fleet: str, findings: tuple[Finding, ...]) -> str:
    if not findings:
        return f"fleet {fleet}: nothing is in its way"
    lines = [f"fleet {fleet}: {len(findings)} to mend"]
    for one in findings:
        lines += [f"- {one.what}: {one.why}", f"  to do: {one.remedy}"]
    return "\n".join(lines)
