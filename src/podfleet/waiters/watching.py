"""Watch a Pod until it is ready, or gone: the core of every waiter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from podfleet.errors import ApiError, NotFound, PodfleetError, ServerFailed
from podfleet.kube import KubeClient, Store
from podfleet.kube.paths import object_path, pods
from podfleet.model import Diagnosis, Manifest, Verdict
from podfleet.model.manifest import name_of, namespace_of, uid_of
from podfleet.waiters.diagnosis import diagnose
from podfleet.waiters.evidence import crashed_container, warnings

__all__ = ["DEFAULT_GRACE", "events_of", "explain", "log_tail", "until_gone", "until_ready"]

DEFAULT_GRACE = 10.0
"""Seconds that a failure which the cluster retries (a pull, a crash) is given to mend."""

_LOG_LINES = 20
_EVIDENCE_TIMEOUT = 3.0  # seconds for events and log together: an error must not come late


def _never(_: Manifest) -> bool:
    return False


async def until_ready(
    client: KubeClient,
    store: Store,
    pod_name: str,
    *,
    grace: float = DEFAULT_GRACE,
    stop: Callable[[Manifest], bool] = _never,
) -> Manifest:
    """Return the Pod once it is ready.

    Args:
        client: Reads events and logs, once the Pod has failed.
        store: A store that a reflector keeps.
        pod_name: The Pod; it may be created later.
        grace: Seconds that a retried failure is given.
        stop: Return the Pod, ready or not, as soon as this holds.

    Raises:
        ServerFailed: It will not be ready, or is gone; the diagnosis says why.
    """
    seen: Manifest | None = None
    failing_since: float | None = None
    with store.subscribe(pod_name) as changed:
        while True:
            changed.clear()
            pod = store.get(pod_name)
            if seen is not None and (pod is None or uid_of(pod) != uid_of(seen)):
                raise await _failure(client, seen, _DELETED)
            if pod is not None:
                seen = pod
                diagnosis = diagnose(pod)
                if diagnosis is None or stop(pod):
                    return pod
                if diagnosis.verdict is Verdict.FAILING and failing_since is None:
                    failing_since = time.monotonic()
                # A crash loop looks well between two crashes: the grace runs on.
                if diagnosis.verdict is Verdict.FAILED or (
                    diagnosis.verdict is Verdict.FAILING
                    and failing_since is not None
                    and time.monotonic() - failing_since >= grace
                ):
                    raise await _failure(client, pod, diagnosis)
            await _wait_for(changed, failing_since, grace)


async def until_gone(store: Store, pod_name: str, pod_uid: str | None) -> None:
    """Return once no Pod of that name, or of that UID, is left; the store must be synced."""
    with store.subscribe(pod_name) as changed:
        while True:
            changed.clear()
            pod = store.get(pod_name)
            if pod is None or (pod_uid is not None and uid_of(pod) != pod_uid):
                return
            await changed.wait()


async def explain(client: KubeClient, pod: Manifest) -> Diagnosis | None:
    """Return why the Pod is not ready, with events and log; ``None`` if it is ready.

    Evidence that cannot be read (no right to events or logs, the Pod is gone) is left out.
    """
    events: Sequence[Manifest] = ()
    log: tuple[str, ...] = ()
    try:
        async with asyncio.timeout(_EVIDENCE_TIMEOUT):
            events = await events_of(client, pod)
            log = await log_tail(client, pod)
    except (PodfleetError, TimeoutError):
        pass
    diagnosis = diagnose(pod, events)
    if diagnosis is None:
        return None
    return diagnosis.with_evidence(events=warnings(events), log=log)


_DELETED = Diagnosis(
    verdict=Verdict.FAILED,
    reason="Deleted",
    summary="the Pod was deleted before it was ready; ask who did: kubectl get events",
)


async def _failure(client: KubeClient, pod: Manifest, diagnosis: Diagnosis) -> ServerFailed:
    found = await explain(client, pod)
    if found is not None and diagnosis is not _DELETED:
        # Events can sharpen the diagnosis, never soften it: the pull that failed.
        diagnosis = found
    return ServerFailed(f"{namespace_of(pod)}/{name_of(pod)}: {diagnosis}", diagnosis=diagnosis)


async def _wait_for(changed: asyncio.Event, failing_since: float | None, grace: float) -> None:
    """Wait for a change, or for the end of the grace: a Pod in back-off changes no more."""
    left = None
    if failing_since is not None:
        left = failing_since + grace - time.monotonic()
        # Past the grace the Pod looked well just now: only a change can tell more.
        left = left if left > 0 else None
    try:
        async with asyncio.timeout(left):
            await changed.wait()
    except TimeoutError:
        pass


async def events_of(client: KubeClient, pod: Manifest) -> Sequence[Manifest]:
    """Return the Pod's events."""
    path = object_path("v1", "events", namespace_of(pod))
    answer = await client.get(path, {"fieldSelector": f"involvedObject.uid={uid_of(pod)}"})
    return list(answer["items"])


async def log_tail(client: KubeClient, pod: Manifest) -> tuple[str, ...]:
    """Return the last lines of the container that tells why the Pod is not ready."""
    crashed = crashed_container(pod)
    if crashed is None:
        return ()
    container, previous = crashed
    query = {"container": container, "tailLines": str(_LOG_LINES)}
    path = f"{pods(namespace_of(pod), name_of(pod))}/log"
    try:
        text = await client.text(path, {**query, "previous": str(previous).lower()})
    except NotFound:
        raise
    except ApiError:
        if not previous:
            raise
        text = await client.text(path, query)  # the former container's log is gone already
    return tuple(text.splitlines())
