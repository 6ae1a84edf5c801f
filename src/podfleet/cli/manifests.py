"""`podfleet manifests`: what an administrator applies once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml

from podfleet.cli.load import Tended, fleets_of, load
from podfleet.cli.output import print_json
from podfleet.cli.where import Namespace, move
from podfleet.errors import ConfigurationError
from podfleet.manifests import tender_deployment
from podfleet.model import Manifest

__all__ = ["manifests"]


class _Format(StrEnum):
    YAML = "yaml"
    JSON = "json"


def manifests(
    references: Annotated[
        list[str], typer.Argument(metavar="MODULE:FLEET", help="The fleets, or groups of them.")
    ],
    tender: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Print a Deployment, too, that tends them: this image has your module, and "
            "podfleet[cli,metrics].",
        ),
    ] = None,
    service_account: Annotated[
        str | None,
        typer.Option(
            metavar="NAMESPACE/NAME",
            help="Who is given the rights; by default an account that is printed, too.",
        ),
    ] = None,
    namespace: Namespace = None,
    output: Annotated[
        _Format, typer.Option("--output", "-o", help="Print YAML, or a List as JSON.")
    ] = _Format.YAML,
) -> None:
    """Print what an administrator applies once.

    That is an account, the rights that these fleets need and no more, and the objects that all
    their servers share. Nothing is asked of the cluster, and nothing is written: pipe it to
    "kubectl apply -f -".
    """
    found = _all(
        [load(name) for name in references], references, tender, service_account, namespace
    )
    if output is _Format.JSON:
        print_json({"apiVersion": "v1", "kind": "List", "items": found})
    else:
        typer.echo(yaml.safe_dump_all(found, sort_keys=False), nl=False)


def _all(
    tended: Sequence[Tended],
    references: Sequence[str],
    tender: str | None,
    service_account: str | None,
    namespace: str | None,
) -> list[Any]:
    fleets = [fleet for one in tended for fleet in fleets_of(one)]
    for fleet in fleets:
        move(fleet, None, namespace)
    name = tended[0].name
    place = fleets[0].spec.namespace or "default"
    account = service_account or f"{place}/podfleet-{name}"
    found = [one for fleet in fleets for one in fleet.manifests(account)]
    if tender is not None:
        if len({fleet.spec.namespace for fleet in fleets}) > 1:
            raise ConfigurationError(
                "--tender", tender, "these fleets are in several namespaces: print one for each"
            )
        found.append(
            tender_deployment(
                name, references, image=tender, namespace=place, service_account=account
            )
        )
    return _plain(found)


def _plain(found: Sequence[Manifest]) -> list[Any]:
    """Return each object once, and so that no two share a part: YAML would say so by anchors."""
    return [json.loads(one) for one in dict.fromkeys(map(json.dumps, found))]
