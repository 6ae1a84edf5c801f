"""How long a call may take that has no timeout of its own: `Cluster.timeout`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from podfleet.errors import TransportError
from podfleet.kube.cluster import Cluster

__all__ = ["bounded"]


@asynccontextmanager
async def bounded(cluster: Cluster, what: str) -> AsyncGenerator[None, None]:
    """End what this block does when the cluster's timeout is up.

    Args:
        cluster: Which cluster.
        what: What is done, in the error: ``fleet arena: find``.

    Raises:
        TransportError: The time was up.
    """
    limit = asyncio.timeout(cluster.timeout)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise  # not this one's
        raise TransportError(
            f"{what}: no result within {cluster.timeout:g} s (Cluster.timeout); a write may have "
            "been carried out. To do: try again, and check the API server and the network"
        ) from error
