"""Why an allocation ran out of time: from what was seen last, and one fresh look at its server."""

from __future__ import annotations

from collections.abc import Sequence

from podfleet.errors import (
    AllocationError,
    AllocationTimeout,
    ApiError,
    Exhausted,
    PodfleetError,
    PortPoolExhausted,
    QuotaExceeded,
    ServerFailed,
)
from podfleet.fleet.claiming.deadline import Deadline
from podfleet.fleet.claiming.hand import Hand
from podfleet.fleet.core import Core
from podfleet.fleet.pool.packing import Selector
from podfleet.fleet.sets.denial import Denial
from podfleet.kube import Stage
from podfleet.model import Diagnosis, Manifest, Verdict
from podfleet.model.manifest import name_of, namespace_of
from podfleet.phase import AllocationPhase
from podfleet.waiters.diagnosis import diagnose
from podfleet.waiters.evidence import by_age, warnings
from podfleet.waiters.lenient import mapping, mappings, text
from podfleet.waiters.watching import events_of, log_tail

__all__ = ["LastLook", "about_pod", "timed_out", "why_not"]

_STUCK = 0.5  # seconds without an answer, after which that is the reason
_STAGES = {
    Stage.CREDENTIALS: AllocationPhase.CREDENTIALS,
    Stage.CONNECT: AllocationPhase.CONNECT,
}
_UNREADABLE = (PodfleetError,)  # evidence that cannot be read is left out


class LastLook:
    """A fresh look at a server shortly before the time is up; what has come by then counts.

    Args:
        core: The running fleet.
        server: The server's name.
    """

    def __init__(self, core: Core, server: str) -> None:
        self.server = server
        self._core = core
        self._events: Sequence[Manifest] = ()
        self._log: tuple[str, ...] = ()

    async def take(self) -> None:
        """Read the Pod, its events and its log."""
        try:
            pod = await self._core.read(self.server)
            if pod is not None:
                self._events = await events_of(self._core.client, pod)
                self._log = await log_tail(self._core.client, pod)
        except _UNREADABLE:
            pass

    @property
    def pod(self) -> Manifest | None:
        """The Pod, as it was seen last."""
        return self._core.store.get(self.server)

    @property
    def diagnosis(self) -> Diagnosis | None:
        """Why it is not ready; ``None`` if it is, or there is none."""
        pod = self.pod
        found = None if pod is None else diagnose(pod, self._events)
        if found is None:
            return None
        return found.with_evidence(events=warnings(self._events), log=self._log)

    @property
    def phase(self) -> AllocationPhase:
        """How far the Pod is that is not ready."""
        pod, diagnosis = self.pod, self.diagnosis
        if pod is None or diagnosis is None:
            return AllocationPhase.READY
        if not text(pod, "spec", "nodeName"):
            return AllocationPhase.SCHEDULE
        if "Pull" in diagnosis.reason or "Image" in diagnosis.reason or self._is_pulling:
            return AllocationPhase.PULL
        statuses = mappings(pod, "status", "containerStatuses")
        if statuses and all(mapping(one, "state", "running") for one in statuses):
            return AllocationPhase.READY
        return AllocationPhase.START

    @property
    def _is_pulling(self) -> bool:
        for event in reversed(by_age(self._events)):
            if text(event, "reason") in ("Pulling", "Pulled", "Created", "Started"):
                return text(event, "reason") == "Pulling"
        return False


def why_not(hand: Hand, deadline: Deadline, look: LastLook | None) -> PodfleetError:
    """Return the error that says why the time was not enough.

    Args:
        hand: The fleet's part in the allocation that came furthest.
        deadline: The allocation's.
        look: The last look at its server; ``None`` if there was none.
    """
    core, start, phase = hand.core, hand.start, hand.phase
    fleet = f"fleet {core.spec.name}"
    name = "" if hand.pod is None else name_of(hand.pod)
    pod = None if look is None else look.pod
    who = fleet if pod is None else f"{fleet}: {about_pod(pod)}"
    said = deadline.said(who)
    if not core.spec.makes_any(hand.wish.selectors):
        asked = " or ".join(_words(selector) for selector in hand.wish.selectors)
        return AllocationTimeout(
            f"{deadline.said(fleet)}: no server with the labels {asked} became free, and the "
            "template makes none that has them",
            phase=AllocationPhase.QUEUE,
        )
    if phase is AllocationPhase.CREATE and (
        deadline.progress.stuck > _STUCK or not isinstance(start.refused, ApiError)
    ):
        return timed_out(deadline, who, phase, "its Pod was being created")
    if phase in (AllocationPhase.ENDPOINT, AllocationPhase.PROBE, AllocationPhase.CLAIM):
        what = {
            AllocationPhase.ENDPOINT: f"its endpoint was not known: {core.exposer.lacking(name)}",
            AllocationPhase.PROBE: "its endpoint was being dialed",
        }
        return timed_out(deadline, who, phase, what.get(phase, "it was being claimed"))
    return _without_server(hand, deadline, look, said, who)


def _without_server(
    hand: Hand, deadline: Deadline, look: LastLook | None, said: str, who: str
) -> PodfleetError:
    """Return why there was no server that is ready."""
    core, start = hand.core, hand.start
    pod = None if look is None else look.pod
    diagnosis = None if look is None else look.diagnosis
    replicas = core.replicas
    if replicas is not None and pod is None and replicas.denial is not None:
        return _denied(said, replicas.denial)
    if replicas is not None and start.server is None and replicas.at_limit and pod is None:
        return Exhausted(
            f"{said}: all {len(replicas.pods)} servers are in use, and the StatefulSet is at its "
            "limit: release servers, or raise StatefulSet.limit"
        )
    refused = start.refused
    if start.server is None and start.none_free is not None:
        return _no_port(core, said, str(start.none_free))
    if isinstance(refused, ApiError) or (
        refused is not None and (pod is None or not pod["spec"].get("nodeName"))
    ):
        return _refusal(core, said, refused)
    if look is None or pod is None:
        return timed_out(deadline, who, hand.phase, _queue(core))
    if diagnosis is None:
        return timed_out(
            deadline, who, look.phase, "its Pod is ready, as has just been read: allow more time"
        )
    if diagnosis.verdict is Verdict.FAILED and start.server == look.server:
        return ServerFailed(f"{about_pod(pod)}: {diagnosis}", diagnosis=diagnosis)
    if diagnosis.reason == "Unschedulable":
        return Exhausted(f"{said}: {diagnosis}", diagnosis=diagnosis)
    return AllocationTimeout(f"{said}: {diagnosis}", phase=look.phase, diagnosis=diagnosis)


def _denied(said: str, denial: Denial) -> AllocationError:
    """Return why a StatefulSet has fewer Pods than it wants."""
    words = f"{said}: the Pods of its StatefulSet are refused: {denial}"
    if issubclass(denial.error, QuotaExceeded):
        return Exhausted(words)
    return AllocationTimeout(words, phase=AllocationPhase.CREATE)


def timed_out(deadline: Deadline, who: str, phase: AllocationPhase, what: str) -> AllocationTimeout:
    """Return the error that says what was going on, and for which request it waited.

    Args:
        deadline: The allocation's.
        who: Who has no server.
        phase: What it was doing, if the API server is connected.
        what: The same as a sentence.
    """
    progress = deadline.progress
    if progress.stage in _STAGES:
        phase = _STAGES[progress.stage]
    seen = str(progress)
    return AllocationTimeout(
        f"{deadline.said(who)}: {what}{f': {seen}' if seen else ''}", phase=phase
    )


def about_pod(pod: Manifest) -> str:
    """Return what an error calls a server."""
    return f"{namespace_of(pod)}/{name_of(pod)}"


def _queue(core: Core) -> str:
    waiting, coming = len(core.line), core.free.coming
    return (
        f"no server became free: {waiting} call(s) in the queue of this backend, {coming} "
        "server(s) starting"
    )


def _words(selector: Selector) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(selector))


def _refusal(core: Core, said: str, refused: Manifest | ApiError) -> AllocationError:
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
