"""The options that say which cluster and namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from attrs import evolve

from podfleet.fleet import AsyncFleet
from podfleet.kube import Cluster

__all__ = ["Context", "Kubeconfig", "Namespace", "cluster_of", "move"]

Kubeconfig = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A kubeconfig; by default the one that kubectl uses."),
]
Context = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A context of the kubeconfig; by default its current one."),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="A namespace; by default the fleet's, or the context's.",
    ),
]


def cluster_of(kubeconfig: Path | None, context: str | None) -> Cluster | None:
    """Return the cluster that the options name; ``None`` if they name none."""
    if kubeconfig is None and context is None:
        return None
    return Cluster(kubeconfig=kubeconfig, context=context)


def move(fleet: AsyncFleet, cluster: Cluster | None, namespace: str | None) -> None:
    """Have a fleet that is not started yet run where the options say."""
    spec = fleet.spec
    fleet.spec = evolve(
        spec, cluster=cluster or spec.cluster, namespace=namespace or spec.namespace
    )
