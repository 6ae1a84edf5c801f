"""Has a server ended, or is it going, and by whose doing? Pure: from what its Pod shows."""

from __future__ import annotations

from attrs import evolve, frozen

from podfleet.fleet.sighting import Sighting
from podfleet.model import Diagnosis, Manifest, Verdict
from podfleet.model.container import container_status, exit_of, has_ended
from podfleet.model.doubt import unreachable_since
from podfleet.model.event import EventKind
from podfleet.waiters.containers import last_exit
from podfleet.waiters.lenient import condition, mapping, number, text

__all__ = ["Ending", "ending", "failure", "restart", "silence", "vanished"]


@frozen
class Ending:
    """How a server ends, or what else befalls it.

    Args:
        kind: What that is to a session on it: `RELEASED` or `LOST`; or `RESTARTED`, or
            `UNREACHABLE`.
        reason: Why, in words.
        diagnosis: Why, if it failed.
    """

    kind: EventKind
    reason: str
    diagnosis: Diagnosis | None = None


_VANISHED = Ending(
    EventKind.LOST,
    "its Pod is gone: it was removed at once, or while this backend did not see the cluster",
)


def vanished(last: Manifest | None) -> Ending:
    """Return what is known of a server whose Pod is gone.

    Args:
        last: Its Pod, as it was seen last.
    """
    why = "" if last is None else _lost_node(last)
    if last is None or not why:
        return _VANISHED
    return _lost(last, "NodeNotReady", f"{why}, and its Pod was removed")


def ending(seen: Sighting) -> Ending | None:
    """Return how an allocated server ends; ``None`` if it does not.

    Args:
        seen: The server; its Pod is there.
    """
    pod = seen.pod
    assert pod is not None, "one that is gone is the caller's to tell"
    if why := _disruption(pod):
        reason = text(condition(pod, "DisruptionTarget"), "reason") or "DisruptionTarget"
        return _lost(pod, reason, why)
    if mapping(pod, "metadata").get("deletionTimestamp"):
        # Ahead of the phase: a process that is told to end ends, with whichever exit code.
        if why := _lost_node(pod):
            return _lost(pod, "NodeNotReady", why)
        return Ending(EventKind.RELEASED, "its Pod is being deleted")
    if not has_ended(pod):
        return None
    # A reason of the Pod's own: the kubelet ended it as a whole. Else the server's container
    # decides: another one's exit may have made the phase what it is.
    failed = text(pod, "status", "phase") == "Failed"
    ended = exit_of(container_status(pod))
    whole = failed and bool(text(pod, "status", "reason"))
    if not whole and (not failed if ended is None else number(ended, "exitCode") == 0):
        return Ending(EventKind.RELEASED, "its process ended by itself (exit 0)")
    diagnosis = seen.diagnosis if whole or ended is None else last_exit(pod)
    reason = diagnosis.summary if diagnosis else "its Pod failed"
    return Ending(EventKind.LOST, reason, diagnosis and _with_exit_code(pod, diagnosis))


def restart(pod: Manifest) -> Ending:
    """Return how the run of a server ended that is followed by another in the same Pod."""
    diagnosis = last_exit(pod)
    why = "its process was started again, and what it held in memory is gone"
    said = f"{why}: {diagnosis.summary}" if diagnosis else why
    return Ending(EventKind.RESTARTED, said, diagnosis)


def silence(seen: Sighting) -> Ending:
    """Return what is known of a server whose node does not report."""
    assert seen.pod is not None, "one that is gone is not in doubt"
    node = text(seen.pod, "spec", "nodeName")
    why = f"node {node} does not report: the server may be gone, or run on unseen"
    return Ending(EventKind.UNREACHABLE, why, seen.diagnosis)


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
    found = condition(pod, "DisruptionTarget")
    if found.get("status") != "True":
        return ""
    said = filter(None, (text(found, "reason"), text(found, "message")))
    return ": ".join(said) or "the cluster takes its Pod"


def _lost_node(pod: Manifest) -> str:
    """Return what is known of a node that has stopped; nothing of one that runs."""
    if text(pod, "status", "reason") == "NodeLost":
        return text(pod, "status", "message") or "its node stopped reporting"
    if unreachable_since(pod) is None:
        return ""
    return f"node {text(pod, 'spec', 'nodeName')} does not report"


def _lost(pod: Manifest, reason: str, why: str) -> Ending:
    diagnosis = Diagnosis(verdict=Verdict.FAILED, reason=reason, summary=why)
    return Ending(EventKind.LOST, why, _with_exit_code(pod, diagnosis))


def _with_exit_code(pod: Manifest, diagnosis: Diagnosis) -> Diagnosis:
    """Return why a Pod ended as a whole, with the exit code of its server, if that has ended."""
    ended = exit_of(container_status(pod))
    if ended is None or diagnosis.exit_code is not None:
        return diagnosis
    return evolve(diagnosis, exit_code=number(ended, "exitCode"))
