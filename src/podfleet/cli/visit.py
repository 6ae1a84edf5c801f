"""Fleets for one command: they are asked, but not tended by the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import evolve

from podfleet.cli.load import Tended, fleets_of, load
from podfleet.cli.where import cluster_of, move
from podfleet.fleet import AsyncFleet, AsyncFleetGroup
from podfleet.kube import Cluster, KubeClient
from podfleet.kube.bounds import bounded
from podfleet.model.names import check_namespace
from podfleet.sync import Fleet, FleetGroup

__all__ = ["connected", "visited"]


def visited(
    reference: str, kubeconfig: Path | None, context: str | None, namespace: str | None
) -> AsyncFleet | AsyncFleetGroup:
    """Return what a reference names, where the options say, without its ``ready=``.

    With it, the template on this machine would become the fleet's, and be rolled out.
    """
    tended = load(reference)
    for fleet in fleets_of(tended):
        move(fleet, cluster_of(kubeconfig, context), namespace)
        fleet.spec = evolve(fleet.spec, ready=None)
    return _awaited(tended)


def _awaited(tended: Tended) -> AsyncFleet | AsyncFleetGroup:
    return tended.own() if isinstance(tended, Fleet | FleetGroup) else tended


@asynccontextmanager
async def connected(
    cluster: Cluster | None, namespace: str | None
) -> AsyncIterator[tuple[KubeClient, str]]:
    """Give a client of the cluster, and the namespace to look in."""
    if namespace is not None:
        check_namespace("--namespace", namespace)
    where = cluster or Cluster()
    client = KubeClient(where)
    try:
        async with bounded(where, "podfleet"):
            connection = await client.connect()
            yield client, namespace or connection.namespace
    finally:
        await client.close()
