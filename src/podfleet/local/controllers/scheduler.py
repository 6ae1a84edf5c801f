"""`Scheduler`: gives Pods their Nodes, or says in its own words why there is none.

The words are those of Kubernetes' pkg/scheduler/framework/plugins and framework/types.go.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from podfleet.chance import CHANCE
from podfleet.local.controllers.controller import Controller
from podfleet.local.controllers.events import Events
from podfleet.local.objects.kinds import NODE, POD
from podfleet.local.objects.registry import Registry
from podfleet.local.objects.store import Change, Key
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of

__all__ = ["Scheduler", "quantity"]

_SOURCE = "default-scheduler"
_UNITS = {
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


class Scheduler(Controller):
    """Looks at Pods without a Node, again whenever one may fit."""

    def __init__(self, registry: Registry, events: Events) -> None:
        super().__init__(registry)
        self._events = events
        self._waiting: set[Key] = set()

    def keys(self, change: Change) -> Iterable[Hashable]:
        """Return a Pod without a Node; or all of them, when there may be room."""
        if change.kind == NODE:
            return list(self._waiting)
        if change.kind != POD:
            return []
        if change.after is None or _is_over(change.after.manifest):
            self._waiting.discard(change.key)
            return list(self._waiting)
        spec = change.after.manifest["spec"]
        if spec.get("nodeName") or spec["schedulerName"] != _SOURCE:
            return []
        self._waiting.add(change.key)
        return [change.key] if change.before is None else []

    def reconcile(self, key: Hashable) -> float | None:
        """Bind one Pod, or say why not."""
        assert isinstance(key, tuple)
        pod = self._store.get(POD, key)
        if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            self._waiting.discard(key)
            return None
        running = [one for one in self._store.all(POD) if not _is_over(one)]
        by_node: dict[str, list[Manifest]] = {}
        for one in running:
            by_node.setdefault(one["spec"].get("nodeName", ""), []).append(one)
        nodes = self._store.all(NODE)
        faults = {name_of(one): _faults(pod, one, by_node.get(name_of(one), [])) for one in nodes}
        fitting = [name for name, found in faults.items() if not found]
        if not fitting:
            self._refuse(key, pod, Counter(one for found in faults.values() for one in found))
            return None
        fewest = min(len(by_node.get(name, [])) for name in fitting)
        node = CHANCE.choice([one for one in fitting if len(by_node.get(one, [])) == fewest])
        self._bind(key, pod, node)
        return None

    def _bind(self, key: Key, pod: Manifest, node: str) -> None:
        self._waiting.discard(key)
        condition = self._condition("True")
        bound = self._registry.write(
            POD,
            *key,
            {
                "spec": {**pod["spec"], "nodeName": node},
                "status": {**pod["status"], "conditions": [condition]},
            },
        )
        if bound is not None:
            where = f"{key[0]}/{key[1]} to {node}"
            words = f"Successfully assigned {where}"
            self._events.tell(bound, "Scheduled", words, source=_SOURCE)

    def _refuse(self, key: Key, pod: Manifest, faults: Counter[str]) -> None:
        message = _words(len(self._store.all(NODE)), faults)
        known = pod["status"].get("conditions") or []
        if any(one.get("message") == message for one in known):
            return
        condition = {**self._condition("False"), "reason": "Unschedulable", "message": message}
        written = self._registry.write(
            POD, *key, {"status": {**pod["status"], "conditions": [condition]}}
        )
        if written is not None:
            self._events.tell(written, "FailedScheduling", message, source=_SOURCE, warning=True)

    def _condition(self, status: str) -> dict[str, Any]:
        now = self._clock.stamp()
        return {
            "type": "PodScheduled",
            "status": status,
            "lastProbeTime": None,
            "lastTransitionTime": now,
        }


def _is_over(pod: Manifest) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def _words(nodes: int, faults: Counter[str]) -> str:
    if not nodes:
        return "no nodes available to schedule pods"
    told = ", ".join(sorted(f"{count} {fault}" for fault, count in faults.items()))
    helped = "No preemption victims found for incoming pod"
    if any("Insufficient" not in fault and "free ports" not in fault for fault in faults):
        helped = "Preemption is not helpful for scheduling"
    none = f"0/{nodes} nodes are available"
    return f"{none}: {told}. preemption: {none}: {nodes} {helped}."


def _faults(pod: Manifest, node: Manifest, others: list[Manifest]) -> list[str]:
    """Return why a Pod does not fit on a Node: the first filter that says no has the word."""
    spec = pod["spec"]
    if node["spec"].get("unschedulable"):
        return ["node(s) were unschedulable"]
    taint = next((one for one in node["spec"].get("taints") or [] if _repels(one, spec)), None)
    if taint is not None:
        shown = f"{taint['key']}: {taint['value']}" if taint.get("value") else f"{taint['key']}: "
        return [f"node(s) had untolerated taint {{{shown}}}"]
    labels = labels_of(node)
    if any(labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return ["node(s) didn't match Pod's node affinity/selector"]
    taken = {port for other in others for port in _host_ports(other["spec"])}
    if taken & set(_host_ports(spec)):
        return ["node(s) didn't have free ports for the requested pod ports"]
    return _shortage(spec, node["status"]["allocatable"], others)


def _repels(taint: Mapping[str, Any], spec: Manifest) -> bool:
    if taint["effect"] == "PreferNoSchedule":
        return False
    for one in spec.get("tolerations") or []:
        exists = one.get("operator") == "Exists"
        key = one.get("key") == taint["key"] or (exists and not one.get("key"))
        value = exists or one.get("value", "") == taint.get("value", "")
        if key and value and one.get("effect", taint["effect"]) == taint["effect"]:
            return False
    return True


def _host_ports(spec: Manifest) -> list[tuple[str, int]]:
    return [
        (port["protocol"], port["hostPort"])
        for container in spec["containers"]
        for port in container.get("ports") or []
        if port.get("hostPort")
    ]


def _shortage(spec: Manifest, allocatable: Mapping[str, str], others: list[Manifest]) -> list[str]:
    if len(others) + 1 > quantity(allocatable["pods"]):
        return ["Too many pods"]
    short = []
    for name, needed in _requests(spec).items():
        used = sum(_requests(other["spec"]).get(name, 0.0) for other in others)
        if used + needed > quantity(allocatable.get(name, "0")):
            short.append(f"Insufficient {name}")
    return short


def _requests(spec: Manifest) -> dict[str, float]:
    total: Counter[str] = Counter()
    for container in spec["containers"]:
        asked = (container.get("resources") or {}).get("requests") or {}
        total.update({name: quantity(value) for name, value in asked.items()})
    return dict(total)


def quantity(written: str | float) -> float:
    """Return an amount as a number.

    Example:
        >>> quantity("500m"), quantity("64Mi"), quantity(2)
        (0.5, 67108864.0, 2.0)
    """
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(written))
    if found is None or found[2] not in _UNITS:
        return 0.0
    return float(found[1]) * _UNITS[found[2]]
