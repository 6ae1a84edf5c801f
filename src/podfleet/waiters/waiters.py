"""The waiters, usable alone: no fleet, any Pod. Watch-driven: one watch, no polling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import frozen

from podfleet.errors import ConfigurationError, NotFound, WaitTimeout
from podfleet.kube import Cluster, KubeClient, Reflector, Store
from podfleet.kube.paths import pods
from podfleet.model import Endpoint, GameServer
from podfleet.model.names import check_namespace, check_server_name
from podfleet.model.plain import check_seconds
from podfleet.waiters.reachable import until_reachable
from podfleet.waiters.watching import DEFAULT_GRACE, explain, until_gone, until_ready

__all__ = ["async_wait_gone", "async_wait_reachable", "async_wait_ready"]


async def async_wait_ready(
    pod: str | GameServer,
    *,
    namespace: str | None = None,
    cluster: Cluster | None = None,
    timeout: float = 60.0,
    grace: float = DEFAULT_GRACE,
) -> None:
    """Wait until a Pod is ready, or tell why it will not be.

    Ready is the Pod's own condition ``Ready``
    (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions). The Pod
    may be created while this waits. Needs the rights to list and watch Pods; with those to
    list events and get ``pods/log`` the diagnosis carries them.

    Args:
        pod: The Pod's name, or a server of a fleet.
        namespace: Its namespace; by default the server's, or the cluster's default one.
        cluster: Which cluster; by default as `Cluster` finds it.
        timeout: Seconds.
        grace: Seconds that a failure which the cluster retries (a pull, a crash) is given.

    Raises:
        ServerFailed: It will not be ready: ``error.diagnosis`` says why.
        WaitTimeout: The time was up; ``error.diagnosis`` has the last status seen.
        ConfigurationError: A wrong argument, or no cluster is configured.

    Example:
        >>> import asyncio
        >>> async def main():
        ...     await async_wait_ready("arena-0", namespace="games", timeout=30)
    """
    check_seconds("timeout", timeout)
    if grace != 0:
        check_seconds("grace", grace)
    async with _watching(pod, namespace, cluster, timeout) as seen:
        try:
            async with asyncio.timeout_at(seen.deadline):
                await until_ready(seen.client, seen.store, seen.name, grace=grace)
        except TimeoutError:
            await _raise_unless_ready(seen, timeout)


async def async_wait_gone(
    pod: str | GameServer,
    *,
    namespace: str | None = None,
    cluster: Cluster | None = None,
    timeout: float = 60.0,
) -> None:
    """Wait until a Pod is gone: its process ended, its ports and its name are free.

    Args:
        pod: The Pod's name, or a server of a fleet: then only that very Pod counts, not a
            namesake that came later.
        namespace: Its namespace; by default the server's, or the cluster's default one.
        cluster: Which cluster; by default as `Cluster` finds it.
        timeout: Seconds.

    Raises:
        WaitTimeout: It is still there.
        ConfigurationError: A wrong argument, or no cluster is configured.
    """
    check_seconds("timeout", timeout)
    uid = pod.uid if isinstance(pod, GameServer) else None
    async with _watching(pod, namespace, cluster, timeout) as seen:
        try:
            async with asyncio.timeout_at(seen.deadline):
                await until_gone(seen.store, seen.name, uid)
        except TimeoutError:
            try:
                seen.store.observe(await seen.client.get(pods(seen.namespace, seen.name)))
            except NotFound:
                return
            raise WaitTimeout(
                f"{seen.namespace}/{seen.name} is still there after {timeout:g} s: "
                "has it a finalizer, or a long terminationGracePeriodSeconds?"
            ) from None


async def async_wait_reachable(
    endpoint: Endpoint | GameServer, *, timeout: float = 10.0, payload: bytes | None = None
) -> None:
    """Wait until an endpoint answers from here.

    Args:
        endpoint: What to dial, or a server: then each of its endpoints in turn. TCP counts as
            reached when it connects; UDP when a datagram comes back.
        timeout: Seconds, for each endpoint.
        payload: What to send over UDP: bytes that the game server answers.

    Raises:
        ConfigurationError: A UDP endpoint without a payload.
        WaitTimeout: It did not answer in time.
    """
    check_seconds("timeout", timeout)
    if payload is not None and not isinstance(payload, bytes):
        raise ConfigurationError("payload", payload, "must be bytes")
    endpoints = endpoint.endpoints if isinstance(endpoint, GameServer) else (endpoint,)
    for one in endpoints:
        if not isinstance(one, Endpoint):
            raise ConfigurationError("endpoint", one, "must be an Endpoint, or a server")
    for one in endpoints:
        await until_reachable(one, timeout, payload)


@frozen
class _Watching:
    client: KubeClient
    store: Store
    namespace: str
    name: str
    deadline: float


@asynccontextmanager
async def _watching(
    pod: str | GameServer, namespace: str | None, cluster: Cluster | None, timeout: float
) -> AsyncIterator[_Watching]:
    """Watch one Pod for as long as the block lasts."""
    deadline = asyncio.get_running_loop().time() + timeout
    check_server_name("pod", pod.name if isinstance(pod, GameServer) else pod)
    if namespace is not None:
        check_namespace("namespace", namespace)
    if cluster is not None and not isinstance(cluster, Cluster):
        raise ConfigurationError("cluster", cluster, "must be a Cluster")
    client = KubeClient(Cluster() if cluster is None else cluster)
    reflector: Reflector | None = None
    try:
        default = (await client.connect()).namespace
        if isinstance(pod, GameServer):
            name, default = pod.name, pod.namespace
        else:
            name = pod
        reflector = Reflector(
            client, pods(namespace or default), {"fieldSelector": f"metadata.name={name}"}
        )
        reflector.start()
        await reflector.wait_synced(timeout)
        yield _Watching(client, reflector.store, namespace or default, name, deadline)
    finally:
        if reflector is not None:
            await reflector.stop()
        await client.close()


async def _raise_unless_ready(seen: _Watching, timeout: float) -> None:
    """Raise with what one fresh GET shows: the watch may have been silent."""
    where = f"{seen.namespace}/{seen.name}"
    try:
        pod = await seen.client.get(pods(seen.namespace, seen.name))
    except NotFound:
        raise WaitTimeout(f"{where} does not exist after {timeout:g} s: create it first") from None
    diagnosis = await explain(seen.client, pod)
    if diagnosis is not None:
        raise WaitTimeout(
            f"{where} is not ready after {timeout:g} s: {diagnosis}", diagnosis=diagnosis
        )
