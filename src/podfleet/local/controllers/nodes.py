"""`Nodes`: what becomes of the Pods of a Node that is not heard of any more.

As Kubernetes' pkg/controller/nodelifecycle, tainteviction and podgc do it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from podfleet.local.clock import parse
from podfleet.local.controllers.controller import Controller
from podfleet.local.objects.kinds import NODE, POD
from podfleet.local.objects.store import Change
from podfleet.model import Manifest
from podfleet.model.manifest import name_of, uid_of

__all__ = ["GRACE", "Nodes", "condition"]

GRACE = 40.0
"""Seconds of silence after which a Node counts as lost (``--node-monitor-grace-period``: 50 s
since 1.32, 40 s before; the shorter is kept)."""

_UNREACHABLE = "node.kubernetes.io/unreachable"


class Nodes(Controller):
    """Looks at Nodes that are lost, and at those that went."""

    def keys(self, change: Change) -> Iterable[Hashable]:
        """Return a Node; or the one of a Pod."""
        if change.kind == NODE:
            return [change.key[1]]
        if change.kind == POD and change.after is not None:
            node = change.after.manifest["spec"].get("nodeName")
            return [node] if node and self._taint(node) else []
        return []

    def reconcile(self, key: Hashable) -> float | None:
        """Evict the Pods of a lost Node when their patience ends; remove those of one that went."""
        name = str(key)
        pods = [one for one in self._store.all(POD) if one["spec"].get("nodeName") == name]
        if self._store.get(NODE, ("", name)) is None:
            for pod in pods:
                self._remove(pod, grace=0)
            return None
        taint = self._taint(name)
        if taint is None:
            return None
        left = []
        for pod in pods:
            patience = _patience(pod)
            if pod["metadata"].get("deletionTimestamp") or patience is None:
                continue
            due = parse(taint["timeAdded"]) + patience - self._clock.now()
            if due <= 0:
                self._remove(pod)
            else:
                left.append(due)
        return min(left, default=None)

    def _taint(self, name: str) -> Manifest | None:
        node = self._store.get(NODE, ("", name))
        taints = (node["spec"].get("taints") or []) if node else []
        return next(
            (one for one in taints if one["effect"] == "NoExecute" and "timeAdded" in one), None
        )

    def _remove(self, pod: Manifest, grace: int | None = None) -> None:
        options: dict[str, Any] = {"preconditions": {"uid": uid_of(pod)}}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        self._registry.delete(POD, pod["metadata"]["namespace"], name_of(pod), options)

    def lose(self, name: str) -> None:
        """Note that a Node has been silent for too long."""
        node = self._registry.get(NODE, "", name)
        ready = condition("Ready", "Unknown", "NodeStatusUnknown", self._clock.stamp())
        ready["message"] = "Kubelet stopped posting node status."
        taints = [
            {"key": _UNREACHABLE, "effect": effect, "timeAdded": self._clock.stamp()}
            for effect in ("NoSchedule", "NoExecute")
        ]
        self._registry.write(
            NODE,
            "",
            name,
            {
                "spec": {**node["spec"], "taints": [*(node["spec"].get("taints") or []), *taints]},
                "status": {**node["status"], "conditions": [ready]},
            },
        )
        for pod in self._store.all(POD):
            if pod["spec"].get("nodeName") == name:
                self._unready(pod)

    def find(self, name: str) -> None:
        """Note that a Node is back."""
        node = self._registry.get(NODE, "", name)
        taints = [one for one in node["spec"].get("taints") or [] if one["key"] != _UNREACHABLE]
        ready = condition("Ready", "True", "KubeletReady", self._clock.stamp())
        changed = {
            "spec": {**node["spec"], "taints": taints},
            "status": {**node["status"], "conditions": [ready]},
        }
        self._registry.write(NODE, "", name, changed)

    def _unready(self, pod: Manifest) -> None:
        conditions = [
            {**one, "status": "False", "lastTransitionTime": self._clock.stamp()}
            if one["type"] == "Ready"
            else one
            for one in pod["status"].get("conditions") or []
        ]
        status = {**pod["status"], "conditions": conditions}
        self._registry.write(POD, pod["metadata"]["namespace"], name_of(pod), {"status": status})


def condition(kind: str, status: str, reason: str, now: str) -> dict[str, Any]:
    """Return a condition of a Node."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }


def _patience(pod: Manifest) -> float | None:
    """Return how many seconds a Pod stays on a lost Node; ``None`` for ever."""
    for one in pod["spec"].get("tolerations") or []:
        if one.get("key") in (_UNREACHABLE, None) and one.get("effect") in ("NoExecute", None):
            seconds = one.get("tolerationSeconds")
            return None if seconds is None else float(seconds)
    return 0.0
