"""The waiters for code that does not await."""

from __future__ import annotations

from podfleet.kube import Cluster
from podfleet.model import Endpoint, GameServer
from podfleet.sync.portal import portal
from podfleet.waiters import (
    DEFAULT_GRACE,
    async_wait_gone,
    async_wait_reachable,
    async_wait_ready,
)

__all__ = ["wait_gone", "wait_reachable", "wait_ready"]


def wait_ready(
    pod: str | GameServer,
    *,
    namespace: str | None = None,
    cluster: Cluster | None = None,
    timeout: float = 60.0,
    grace: float = DEFAULT_GRACE,
) -> None:
    """Wait until a Pod is ready, or tell why it will not be: see `async_wait_ready`."""
    portal.run(
        async_wait_ready(pod, namespace=namespace, cluster=cluster, timeout=timeout, grace=grace)
    )


def wait_gone(
    pod: str | GameServer,
    *,
    namespace: str | None = None,
    cluster: Cluster | None = None,
    timeout: float = 60.0,
) -> None:
    """Wait until a Pod is gone: see `async_wait_gone`."""
    portal.run(async_wait_gone(pod, namespace=namespace, cluster=cluster, timeout=timeout))


def wait_reachable(
    endpoint: Endpoint | GameServer, *, timeout: float = 10.0, payload: bytes | None = None
) -> None:
    """Wait until an endpoint answers from here: see `async_wait_reachable`."""
    portal.run(async_wait_reachable(endpoint, timeout=timeout, payload=payload))
