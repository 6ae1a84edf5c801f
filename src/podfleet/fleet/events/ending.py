"""Has a server ended, or is it going, and by whose doing? Pure: from what its Pod shows."""

from __future__ import annotations

from attrs import frozen

from podfleet.fleet.sighting import Sighting
from podfleet.model import Diagnosis, Manifest, Verdict
from podfleet.model.event import EventKind
from podfleet.waiters.diagnosis import diagnose
from podfleet.waiters.lenient import mapping, mappings, text

__all__ = ["VANISHED", "Ending", "ending", "failure"]


@frozen
class Ending:
    """How a server ends.

    Args:
        kind: What that is to a session on it: `RELEASED` or `LOST`.
        reason: Why, in words.
        diagnosis: Why, if it failed.
    """

    kind: EventKind
    reason: str
    diagnosis: Diagnosis | None = None


VANISHED = Ending(
    EventKind.LOST,
    "its Pod is gone: it was removed at once, or while this backend did not see the cluster",
)


def ending(seen: Sighting) -> Ending | None:
    """Return how an allocated server ends; ``None`` if it does not.

    Args:
        seen: The server; its Pod is there.
    """
    pod = seen.pod
    assert pod is not None, "one that is gone is the caller's to tell"
    if why := _disruption(pod):
        return Ending(EventKind.LOST, why)
    if mapping(pod, "metadata").get("deletionTimestamp"):
        # Ahead of the phase: a process that is told to end ends, with whichever exit code.
        if why := _lost_node(pod):
            return Ending(EventKind.LOST, why)
        return Ending(EventKind.RELEASED, "its Pod is being deleted")
    match text(pod, "status", "phase"):
        case "Failed":
            diagnosis = seen.diagnosis
            reason = diagnosis.summary if diagnosis else "its Pod failed"
            return Ending(EventKind.LOST, reason, diagnosis)
        case "Succeeded":
            return Ending(EventKind.RELEASED, "its process ended by itself (exit 0)")
    return None


def failure(seen: Sighting) -> Diagnosis | None:
    """Return why a server that nobody has will never be ready; ``None`` if it may be.

    One that is deleted has not failed, unless the cluster took it.
    """
    diagnosis = seen.diagnosis
    if diagnosis is None or diagnosis.verdict is not Verdict.FAILED:
        return None
    assert seen.pod is not None, "there is a diagnosis of it"
    going = mapping(seen.pod, "metadata").get("deletionTimestamp")
    return None if going and not _disruption(seen.pod) else diagnosis


def _disruption(pod: Manifest) -> str:
    """Return why the cluster takes a Pod: eviction, preemption and taints say it.

    https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
    """
    found = _condition(pod, "DisruptionTarget")
    if found.get("status") != "True":
        return ""
    said = filter(None, (text(found, "reason"), text(found, "message")))
    return ": ".join(said) or "the cluster takes its Pod"


def _lost_node(pod: Manifest) -> str:
    """Return what is known of a node that has stopped; nothing of one that runs."""
    if text(pod, "status", "reason") == "NodeLost":
        return text(pod, "status", "message") or "its node stopped reporting"
    metadata = {key: v for key, v in pod["metadata"].items() if key != "deletionTimestamp"}
    diagnosis = diagnose({**pod, "metadata": metadata})
    lost = diagnosis is not None and diagnosis.reason == "NodeNotReady"
    return f"node {text(pod, 'spec', 'nodeName')} does not report" if lost else ""


def _condition(pod: Manifest, kind: str) -> Manifest:
    for condition in mappings(pod, "status", "conditions"):
        if text(condition, "type") == kind:
            return condition
    return {}
