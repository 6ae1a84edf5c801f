"""Is a Pod ready, and if not, what does the cluster say? Pure: from JSON to a `Diagnosis`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from podfleet.model import Diagnosis, Manifest, Verdict
from podfleet.model.container import container_name, has_ended
from podfleet.model.doubt import unreachable_since
from podfleet.model.manifest import parse_time
from podfleet.waiters.containers import containers, crash, unready
from podfleet.waiters.evidence import about, by_age
from podfleet.waiters.lenient import condition, mapping, mappings, number, text
from podfleet.waiters.scheduling import unscheduled

__all__ = ["diagnose", "is_ready", "ready_since"]

# status.reason of a Pod that failed as a whole, with what it means. From Kubernetes'
# pkg/kubelet/lifecycle/predicate.go and handlers.go, eviction/helpers.go,
# preemption/preemption.go, nodeshutdown/nodeshutdown_manager.go, kubelet.go.
_POD_FAILURES = {
    "DeadlineExceeded": "the Pod ran longer than its activeDeadlineSeconds: raise it",
    "Evicted": "the node ran short of a resource and evicted the Pod: set requests and limits",
    "NodeAffinity": "the node's labels do not match the Pod's node selector or affinity",
    "NodeLost": "the node stopped reporting",
    "NodePorts": "a host port of the Pod is taken on its node: choose another",
    "NodeShutdown": "the node is shutting down",
    "OutOfcpu": "the node has not enough cpu left: request less, or add a node",
    "OutOfmemory": "the node has not enough memory left: request less, or add a node",
    "OutOfpods": "the node runs as many Pods as it may: add a node",
    "Preempting": "the Pod made room for a critical one: add a node",
    "Terminated": "the node was shut down",
    "UnexpectedAdmissionError": "the node refused the Pod",
}
# Warnings about the Pod as a whole, before its containers start: pkg/kubelet/events/event.go
# and pkg/controller/volume/events/event.go.
_POD_WARNINGS = {
    "FailedAttachVolume": "a volume cannot be attached",
    "FailedCreatePodSandBox": "the node cannot set up the Pod's sandbox or network",
    "FailedMapVolume": "a volume cannot be mapped",
    "FailedMount": "a volume cannot be mounted",
    "FailedPrepareDynamicResources": "a device or other dynamic resource cannot be prepared",
    "NetworkNotReady": "the node's network is not ready",
}
_PROGRESS = frozenset({"Pulling", "Pulled", "Created", "Started"})
_SEVERITY = (Verdict.FAILED, Verdict.FAILING, Verdict.WAITING)


def is_ready(pod: Manifest) -> bool:
    """Return whether a Pod can be played on: ready, not being deleted, and its server running.

    Args:
        pod: The Pod, as the API server's JSON shows it.

    Example:
        >>> is_ready({"status": {"phase": "Running",
        ...                      "conditions": [{"type": "Ready", "status": "True"}]}})
        True
        >>> is_ready({"status": {"phase": "Pending"}})
        False
    """
    return (
        text(pod, "status", "phase") == "Running"
        and condition(pod, "Ready").get("status") == "True"
        and not mapping(pod, "metadata").get("deletionTimestamp")
        and not has_ended(pod)
    )


def ready_since(pod: Manifest) -> datetime | None:
    """Return since when a Pod is ready, to the second, by its node's clock; ``None`` if it is not.

    Args:
        pod: The Pod, as the API server's JSON shows it.
    """
    if not is_ready(pod):
        return None
    return parse_time(text(condition(pod, "Ready"), "lastTransitionTime") or None)


def diagnose(pod: Manifest, events: Sequence[Manifest] = ()) -> Diagnosis | None:
    """Return why a Pod is not ready, or ``None`` if it is.

    Never raises: a field that is missing or odd says nothing.

    Args:
        pod: The Pod, as the API server's JSON shows it.
        events: Its events, if they were read: some causes (a failing probe, a volume, a pull
            between two tries) stand nowhere else.

    Example:
        >>> print(diagnose({"status": {"phase": "Failed", "reason": "Evicted"}}).summary)
        the node ran short of a resource and evicted the Pod: set requests and limits
    """
    if is_ready(pod):
        return None
    phase = text(pod, "status", "phase")
    if phase in ("Failed", "Succeeded"):
        return _ended(pod, phase, events)
    if mapping(pod, "metadata").get("deletionTimestamp"):
        return _deleted(pod)
    if diagnosis := unscheduled(pod):
        return diagnosis
    found = [
        diagnosis for one in containers(pod) if (diagnosis := unready(one, events)) is not None
    ]
    if found:
        worst = min(found, key=lambda diagnosis: _weight(diagnosis, container_name(pod)))
        if worst.reason not in ("ContainerCreating", "PodInitializing"):
            return worst
        return _pod_warning(events) or worst
    return _pod_warning(events) or _ungated(pod)


def _ended(pod: Manifest, phase: str, events: Sequence[Manifest]) -> Diagnosis:
    reason, message = text(pod, "status", "reason"), text(pod, "status", "message")
    if reason:
        meaning = _POD_FAILURES.get(reason, "the Pod failed")
        return _whole(Verdict.FAILED, reason, meaning, message)
    # Of several that ended alike, the game server's tells.
    for one in sorted(containers(pod), key=lambda one: not one.is_server):
        ended = mapping(one.status, "state", "terminated")
        if ended and (number(ended, "exitCode") == 0) == (phase == "Succeeded"):
            word = text(ended, "reason") or "Error"
            said = about(events, one.name)
            return crash(one, ended, said, reason=word, message=message, final=True)
    if phase == "Failed":
        return _whole(Verdict.FAILED, phase, message or "the Pod failed and says not why", message)
    return _whole(
        Verdict.FAILED,
        phase,
        "the server ended by itself (exit code 0) before it was ready: "
        "a server has to keep running",
    )


def _deleted(pod: Manifest) -> Diagnosis:
    # Preemption, eviction and taints leave their reason in this condition.
    disruption = condition(pod, "DisruptionTarget")
    message = text(disruption, "message")
    reason = text(disruption, "reason")
    why = f" ({reason})" if reason else ""
    return _whole(
        Verdict.FAILED,
        "Terminating",
        f"the Pod is being deleted{why} before it was ready: see who deletes it",
        message,
    )


def _pod_warning(events: Sequence[Manifest]) -> Diagnosis | None:
    """Return the last warning about the Pod as a whole, unless it got further since."""
    for event in reversed(by_age(events)):
        reason, message = text(event, "reason"), text(event, "message")
        if reason in _PROGRESS:
            return None
        if reason in _POD_WARNINGS:
            summary = f"{_POD_WARNINGS[reason]}: {message}"
            return _whole(Verdict.WAITING, reason, summary, message)
    return None


def _ungated(pod: Manifest) -> Diagnosis:
    """Return what is left when no container is at fault: a readiness gate, the node, nothing."""
    missing = [
        gate
        for item in mappings(pod, "spec", "readinessGates")
        if condition(pod, gate := text(item, "conditionType")).get("status") != "True"
    ]
    ready = condition(pod, "Ready")
    message = text(ready, "message")
    if missing and condition(pod, "ContainersReady").get("status") == "True":
        return _whole(
            Verdict.WAITING,
            "ReadinessGatesNotReady",
            f"the containers are ready, but not the readiness gates {', '.join(missing)}: "
            "what sets them must be running",
            message,
        )
    node = text(pod, "spec", "nodeName")
    if unreachable_since(pod) is not None:
        return _whole(
            Verdict.WAITING,
            "NodeNotReady",
            f"the containers are ready, but node {node} does not report: is it up?",
            message,
        )
    return _whole(
        Verdict.WAITING,
        text(ready, "reason") or "Pending",
        f"node {node} has not started the Pod yet" if node else "the Pod has no status yet",
        message,
    )


def _weight(diagnosis: Diagnosis, server: str) -> tuple[int, bool]:
    """Return what puts the worst first, and of failures the game server's own."""
    own = diagnosis.verdict is not Verdict.WAITING and diagnosis.container == server
    return _SEVERITY.index(diagnosis.verdict), not own


def _whole(verdict: Verdict, reason: str, summary: str, message: str = "") -> Diagnosis:
    return Diagnosis(verdict=verdict, reason=reason, summary=summary, message=message)
