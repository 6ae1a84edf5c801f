"""Why an allocation ran out of time, in words: from what was seen last, and one fresh read."""

from __future__ import annotations

import asyncio

from podfleet.errors import (
    AllocationError,
    AllocationTimeout,
    ApiError,
    Exhausted,
    PortPoolExhausted,
)
from podfleet.fleet.claiming.start import Start
from podfleet.fleet.core import Core
from podfleet.fleet.pool.free import Wish
from podfleet.fleet.pool.packing import Selector
from podfleet.kube.retry import AMBIGUOUS
from podfleet.model import Diagnosis, Manifest
from podfleet.model.manifest import name_of
from podfleet.waiters.diagnosis import diagnose
from podfleet.waiters.watching import explain

__all__ = ["why_not"]

_READY_TOO_LATE = "its Pod is ready, but its endpoint was not known in time: allow more time"
_LAST_LOOK = 3.0  # seconds for the one fresh read before a timeout is told


async def why_not(
    core: Core, start: Start, wish: Wish, hand: str | None, timeout: float
) -> AllocationError:
    """Return the error that says why the time was not enough.

    Args:
        core: The running fleet.
        start: What the allocation started for itself.
        wish: Which server it was to be.
        hand: The server that it was about to claim, if there was one.
        timeout: Seconds that it had.
    """
    where = f"fleet {core.spec.name}"
    said = f"no server within {timeout:.3g} s"
    if not core.spec.makes_any(wish.selectors):
        asked = " or ".join(_words(selector) for selector in wish.selectors)
        return AllocationTimeout(
            f"{where}: {said}: no server with the labels {asked} became free, and the template "
            "makes none that has them"
        )
    server = hand or start.server
    pod, diagnosis = await _last_look(core, server)
    if core.replicas is not None and server is None and core.replicas.at_limit and pod is None:
        return Exhausted(
            f"{where}: {said}: all {len(core.replicas.pods)} servers are in use, and the "
            "StatefulSet is at its limit: release servers, or raise StatefulSet.limit"
        )
    if pod is not None:
        where = f"{where}: {core.namespace}/{name_of(pod)}"
    refused = start.refused
    if server is None and start.none_free is not None:
        return _no_port(core, f"{where}: {said}", str(start.none_free))
    if isinstance(refused, ApiError) or (
        refused is not None and (pod is None or not pod["spec"].get("nodeName"))
    ):
        return _refusal(core, f"{where}: {said}", refused)
    if diagnosis is not None and diagnosis.reason == "Unschedulable":
        return Exhausted(f"{where}: {said}: {diagnosis}", diagnosis=diagnosis)
    return AllocationTimeout(
        f"{where}: {said}: {diagnosis or _READY_TOO_LATE}", diagnosis=diagnosis
    )


def _words(selector: Selector) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(selector))


async def _last_look(core: Core, server: str | None) -> tuple[Manifest | None, Diagnosis | None]:
    pod = core.store.get(server) if server else None
    if server is None and core.free.expected is not None:
        pod = core.store.get(core.free.expected)
    try:
        async with asyncio.timeout(_LAST_LOOK):
            pod = (await core.read(server) if server else None) or pod
            return pod, await explain(core.client, pod) if pod else None
    except (TimeoutError, *AMBIGUOUS):
        return pod, None


def _refusal(core: Core, said: str, refused: Manifest | ApiError) -> PortPoolExhausted:
    pool = core.spec.exposure.pool
    if isinstance(refused, ApiError):
        why = f"others have every free port of {pool!r}. The API server says: {refused}"
        return _no_port(core, said, why)
    diagnosis = diagnose(refused)
    asked = core.spec.exposure.ports_needed(core.spec.template)
    why = (
        f"no node has {asked} free port(s) of {pool!r}; widen the pool, add a node or release "
        f"servers. The scheduler says: {diagnosis.message if diagnosis else '?'}"
    )
    return _no_port(core, said, why, diagnosis)


def _no_port(
    core: Core, said: str, why: str, diagnosis: Diagnosis | None = None
) -> PortPoolExhausted:
    pool = core.spec.exposure.pool
    held_by = dict(pool.in_use) if pool is not None else {}
    free = pool.free if pool is not None else 0
    return PortPoolExhausted(
        f"{said}: {why}",
        asked=core.spec.exposure.ports_needed(core.spec.template),
        free=free,
        held_by=held_by,
        diagnosis=diagnosis,
    )
