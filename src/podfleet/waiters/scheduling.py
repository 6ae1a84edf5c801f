"""What the scheduler says about a Pod that has no node."""

from __future__ import annotations

import re

from podfleet.model import Diagnosis, Manifest, Verdict
from podfleet.waiters.lenient import mapping, mappings, number, text

__all__ = ["unscheduled"]

# The scheduler's words, each with ours and with what helps. From Kubernetes'
# pkg/scheduler/framework/plugins: nodeports/node_ports.go, noderesources/fit.go,
# tainttoleration/taint_toleration.go, nodeaffinity/node_affinity.go,
# nodeunschedulable/node_unschedulable.go, interpodaffinity/filtering.go,
# podtopologyspread/plugin.go, nodename/node_name.go, volumebinding/binder.go.
_CAUSES = (
    (
        "node(s) didn't have free ports for the requested pod ports",
        "no free host port",
        "choose other host ports or add a node",
    ),
    ("Insufficient cpu", "not enough cpu", "request less cpu or add a node"),
    ("Insufficient memory", "not enough memory", "request less memory or add a node"),
    ("Too many pods", "as many Pods as the node may run", "add a node"),
    ("node(s) had untolerated taint", "a taint that is not tolerated", "add a toleration"),
    ("node(s) had taints", "a taint that is not tolerated", "add a toleration"),
    (
        "node(s) didn't match Pod's node affinity/selector",
        "labels that do not match the node selector or affinity",
        "correct the node selector, or label a node",
    ),
    ("node(s) were unschedulable", "cordoned", "uncordon a node or add one"),
    ("node(s) didn't match the requested node name", "another name", "correct nodeName"),
    (
        "node(s) didn't match pod affinity rules",
        "the Pod's affinity rules not met",
        "relax the affinity",
    ),
    (
        "node(s) didn't match pod anti-affinity rules",
        "a Pod that the anti-affinity rules exclude",
        "relax the anti-affinity or add a node",
    ),
    (
        "node(s) didn't satisfy existing pods anti-affinity rules",
        "a Pod whose anti-affinity rules exclude this one",
        "add a node",
    ),
    (
        "node(s) didn't match pod topology spread constraints",
        "the topology spread constraints not met",
        "relax them or add a node",
    ),
    (
        "node(s) didn't find available persistent volumes to bind",
        "no persistent volume to bind",
        "provide the volume",
    ),
)
_OTHER_RESOURCE = re.compile(r"(\d+) Insufficient (?!cpu\b|memory\b)([\w./-]*\w)")
_TOTAL = re.compile(r"0/(\d+) nodes? (?:are|is) available")


def unscheduled(pod: Manifest) -> Diagnosis | None:
    """Return why the Pod has no node, or ``None`` if it has one.

    A node can come, or a Pod go, at any time: the verdict is always to wait.
    """
    refusal = _refusal(pod)
    if not refusal:
        if text(pod, "spec", "nodeName") or mapping(pod, "status").get("containerStatuses"):
            return None
        return _waiting(
            "Pending", "the Pod waits for the scheduler; if this lasts, is a scheduler running?"
        )
    message = text(refusal, "message")
    reason = text(refusal, "reason") or "Unschedulable"
    if reason == "SchedulingGated":
        gates = ", ".join(text(gate, "name") for gate in mappings(pod, "spec", "schedulingGates"))
        return _waiting(
            reason, f"the Pod is held back until its scheduling gates are removed: {gates}", message
        )
    return _waiting(reason, _why(message) + _asked_ports(pod, message), message)


def _refusal(pod: Manifest) -> Manifest:
    for condition in mappings(pod, "status", "conditions"):
        if text(condition, "type") == "PodScheduled" and text(condition, "status") == "False":
            return condition
    return {}


def _filters(message: str) -> str:
    # What follows is preemption's own verdict, which repeats the reasons with other counts:
    # pkg/scheduler/framework/types.go, FitError.Error
    return message.partition("preemption:")[0]


def _why(message: str) -> str:
    if message.startswith("no nodes available"):  # pkg/scheduler/scheduler.go
        return "the cluster has no nodes: the Pod waits for one"
    filters = _filters(message)
    causes: dict[str, str] = {}
    for words, cause, advice in _CAUSES:
        match = re.search(rf"(\d+) {re.escape(words)}", filters)
        if match:
            causes.setdefault(f"{cause} on {match[1]}", advice)
    for count, resource in _OTHER_RESOURCE.findall(filters):
        causes[f"not enough {resource} on {count}"] = f"request less {resource} or add a node"
    if not causes:
        return f"no node can take the Pod: {message or 'the scheduler does not say why'}"
    total = _TOTAL.search(filters)
    of_all = f" of {total[1]} nodes" if total else ""
    advice = "; ".join(dict.fromkeys(causes.values()))
    return f"no node can take the Pod: {', '.join(causes)}{of_all}: {advice}"


def _asked_ports(pod: Manifest, message: str) -> str:
    """Return which hostPorts the Pod asks for, if some are taken: the scheduler names none."""
    if _CAUSES[0][0] not in _filters(message):
        return ""
    asked = {
        number(port, "hostPort")
        for kind in ("containers", "initContainers")
        for container in mappings(pod, "spec", kind)
        for port in mappings(container, "ports")
    }
    listed = ", ".join(map(str, sorted(asked - {None, 0})))  # type: ignore[type-var]
    return f" (it asks for hostPort {listed}; a node gives each to one Pod)" if listed else ""


def _waiting(reason: str, summary: str, message: str = "") -> Diagnosis:
    return Diagnosis(verdict=Verdict.WAITING, reason=reason, summary=summary, message=message)
