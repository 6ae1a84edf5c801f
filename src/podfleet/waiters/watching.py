"""Watch a Pod until it is ready, or gone: the core of every waiter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NoReturn, TypeVar

from podfleet.errors import ApiError, NotFound, PodfleetError, ServerFailed
from podfleet.kube import KubeClient, Store
from podfleet.kube.paths import object_path, pods
from podfleet.model import Diagnosis, Manifest, Verdict
from podfleet.model.container import Run, container_name, container_status, has_ended
from podfleet.model.manifest import name_of, namespace_of, uid_of
from podfleet.waiters.containers import last_exit
from podfleet.waiters.diagnosis import diagnose
from podfleet.waiters.evidence import crashed_container, warnings
from podfleet.waiters.lenient import mapping, text

__all__ = [
    "DEFAULT_GRACE",
    "ended_run",
    "events_of",
    "explain",
    "is_deleted",
    "log_tail",
    "until_failed",
    "until_gone",
    "until_ready",
    "with_evidence",
]

DEFAULT_GRACE = 10.0
"""Seconds that a failure which the cluster retries (a pull, a crash) is given to mend."""

_T = TypeVar("_T")

_LOG_LINES = 20
_TRIES = 3
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
    patience = _Patience(grace)
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
                if patience.is_over(diagnosis):
                    raise await _failure(client, pod, diagnosis)
            await patience.wait_for(changed)


async def until_failed(
    client: KubeClient,
    store: Store,
    pod: Manifest,
    *,
    grace: float = DEFAULT_GRACE,
    in_match: bool = False,
) -> NoReturn:
    """Wait until a Pod that was ready ends, fails or goes; cancel it when nobody cares any more.

    Args:
        client: Reads events and logs, once the Pod has failed.
        store: A store that a reflector keeps.
        pod: The Pod.
        grace: Seconds that a retried failure is given.
        in_match: Only the end of its server counts: a match need not be ready, and may begin anew.

    Raises:
        ServerFailed: It did; `is_deleted` tells whether somebody deleted it.
    """
    pod_name = name_of(pod)
    patience = _Patience(grace)
    with store.subscribe(pod_name) as changed:
        while True:
            changed.clear()
            now = store.get(pod_name)
            if now is None or uid_of(now) != uid_of(pod):
                raise await _failure(client, pod, _GONE)
            diagnosis = diagnose(now)
            if diagnosis is not None:
                if mapping(now, "metadata").get("deletionTimestamp") and not has_ended(now):
                    raise await _failure(client, now, _GONE)
                if has_ended(now) if in_match else patience.is_over(diagnosis):
                    raise await _failure(client, now, diagnosis)
            await patience.wait_for(changed)


def is_deleted(error: ServerFailed) -> bool:
    """Return whether `until_failed` found the Pod deleted, rather than failed."""
    return error.diagnosis is _GONE


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
    with suppress(PodfleetError, TimeoutError):
        async with asyncio.timeout(_EVIDENCE_TIMEOUT):
            with suppress(PodfleetError):
                events = await events_of(client, pod)
            log = await log_tail(client, pod)
    diagnosis = diagnose(pod, events)
    if diagnosis is None:
        return None
    return diagnosis.with_evidence(events=warnings(events), log=log)


async def with_evidence(
    client: KubeClient, pod: Manifest, diagnosis: Diagnosis, run: Run | None = None
) -> Diagnosis:
    """Return a diagnosis with the Pod's warnings and the last lines of a log.

    What cannot be read is left out. It takes as long as the API server does.

    Args:
        client: Reads them.
        pod: The Pod, as it was seen.
        diagnosis: What is known of how it ended.
        run: The run of the server's process whose log it is; by default the container's that
            crashed, else the server's.

    Returns:
        The diagnosis; what ended the server's process in other words if the warnings tell: a probe.
    """
    said = log_tail(client, pod, or_server=True) if run is None else _log_of(client, pod, run)
    # At once: the Pod may be on its way out.
    log, events = await asyncio.gather(_or_nothing(said), _or_nothing(events_of(client, pod)))
    closer = last_exit(pod, events)
    known = (diagnosis.container, diagnosis.exit_code)
    if closer is not None and (closer.container, closer.exit_code) == known:
        diagnosis = closer
    return diagnosis.with_evidence(events=warnings(events), log=log)


async def _or_nothing(reading: Awaitable[Sequence[_T]]) -> tuple[_T, ...]:
    try:
        return tuple(await reading)
    except PodfleetError:
        return ()


def ended_run(pod: Manifest) -> Run | None:
    """Return the latest run of the server's process that has ended; ``None`` if none has."""
    status = container_status(pod)
    for place in ("state", "lastState"):
        ended = mapping(status, place, "terminated")
        if ended:
            return Run(text(ended, "containerID"), over=True)
    return None


class _Patience:
    """For how long a failure that the cluster retries is watched."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._since: float | None = None

    def is_over(self, diagnosis: Diagnosis) -> bool:
        """Return whether it is no use to wait any longer."""
        if diagnosis.verdict is Verdict.FAILED:
            return True
        if diagnosis.verdict is not Verdict.FAILING:
            return False  # a crash loop looks well between two crashes: the grace runs on
        if self._since is None:
            self._since = time.monotonic()
        return time.monotonic() - self._since >= self._grace

    async def wait_for(self, changed: asyncio.Event) -> None:
        """Wait for a change, or the end of the grace: a Pod in back-off changes no more."""
        left = None
        if self._since is not None:
            left = self._since + self._grace - time.monotonic()
            # Past the grace the Pod looked well just now: only a change can tell more.
            left = left if left > 0 else None
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await changed.wait()


_DELETED = Diagnosis(
    verdict=Verdict.FAILED,
    reason="Deleted",
    summary="the Pod was deleted before it was ready; ask who did: kubectl get events",
)


_GONE = Diagnosis(
    verdict=Verdict.FAILED,
    reason="Deleted",
    summary="the Pod was deleted; ask who did: kubectl get events",
)


async def _failure(client: KubeClient, pod: Manifest, diagnosis: Diagnosis) -> ServerFailed:
    found = None if diagnosis in (_DELETED, _GONE) else await explain(client, pod)
    if found is not None:
        # Events can sharpen the diagnosis, never soften it: the pull that failed.
        diagnosis = found
    return ServerFailed(f"{namespace_of(pod)}/{name_of(pod)}: {diagnosis}", diagnosis=diagnosis)


async def events_of(client: KubeClient, pod: Manifest) -> Sequence[Manifest]:
    """Return the Pod's events."""
    path = object_path("v1", "events", namespace_of(pod))
    answer = await client.get(path, {"fieldSelector": f"involvedObject.uid={uid_of(pod)}"})
    return list(answer["items"])


async def _log_of(client: KubeClient, pod: Manifest, run: Run) -> tuple[str, ...]:
    """Return the last lines of one run of the server's; none if it is too long ago by now.

    Which run the API server shows is asked before and after: meanwhile it may have changed.
    """
    path = pods(namespace_of(pod), name_of(pod))
    for _ in range(_TRIES):
        place = _place_of(await client.get(path), run)
        if place is None:
            break
        query = {"container": container_name(pod), "tailLines": str(_LOG_LINES)}
        previous = str(place == "lastState").lower()
        found = await client.text(f"{path}/log", {**query, "previous": previous})
        if _place_of(await client.get(path), run) == place:
            return tuple(found.splitlines())
    return ()


def _place_of(pod: Manifest, run: Run) -> str | None:
    """Return where the status shows a run that has ended: ``state``, ``lastState`` or nowhere."""
    status = container_status(pod)
    for place in ("state", "lastState"):
        if run.identity and text(status, place, "terminated", "containerID") == run.identity:
            return place
    return None


async def log_tail(
    client: KubeClient, pod: Manifest, *, or_server: bool = False
) -> tuple[str, ...]:
    """Return the last lines of the container that tells why the Pod is not ready.

    Args:
        client: Reads them.
        pod: The Pod.
        or_server: Whether to read the server's if none does.
    """
    crashed = crashed_container(pod)
    if crashed is None and or_server and text(container_status(pod), "containerID"):
        crashed = container_name(pod), False
    if crashed is None:
        return ()
    container, previous = crashed
    query = {"container": container, "tailLines": str(_LOG_LINES)}
    path = f"{pods(namespace_of(pod), name_of(pod))}/log"
    try:
        found = await client.text(path, {**query, "previous": str(previous).lower()})
    except NotFound:
        raise
    except ApiError:
        if not previous:
            raise
        found = await client.text(path, query)  # the former container's log is gone already
    return tuple(found.splitlines())
