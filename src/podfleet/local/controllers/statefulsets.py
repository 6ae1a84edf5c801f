"""`StatefulSets`: keeps as many numbered Pods as a StatefulSet wants."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable
from typing import Any

from podfleet.local.controllers.controller import Controller
from podfleet.local.controllers.events import Events
from podfleet.local.objects.kinds import POD, STATEFUL_SET
from podfleet.local.objects.registry import Registry
from podfleet.local.objects.statuses import Refusal
from podfleet.local.objects.store import Change
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of, uid_of

__all__ = ["StatefulSets"]

_REVISION = "controller-revision-hash"
_POD_NAME = "statefulset.kubernetes.io/pod-name"
_INDEX = "apps.kubernetes.io/pod-index"
_SOURCE = "statefulset-controller"


class StatefulSets(Controller):
    """Looks at StatefulSets, and at the Pods that they own."""

    def __init__(self, registry: Registry, events: Events) -> None:
        super().__init__(registry)
        self._events = events

    def keys(self, change: Change) -> Iterable[Hashable]:
        """Return a StatefulSet, or the owner of a Pod."""
        if change.kind == STATEFUL_SET:
            return [change.key]
        shown = change.after or change.before
        if change.kind != POD or shown is None:
            return []
        owners = shown.manifest["metadata"].get("ownerReferences") or []
        return [(change.key[0], one["name"]) for one in owners if one["kind"] == STATEFUL_SET.name]

    def reconcile(self, key: Hashable) -> float | None:
        """Make, remove or renew its next Pods, and tell how many there are."""
        assert isinstance(key, tuple)
        found = self._store.get(STATEFUL_SET, key)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None
        pods = self._pods(found)
        self._tell(found, pods)
        spec = found["spec"]
        first = (spec.get("ordinals") or {}).get("start", 0)
        wanted = range(first, first + spec["replicas"])
        one_by_one = spec["podManagementPolicy"] == "OrderedReady"
        for number in wanted:
            pod = pods.get(number)
            if pod is None:
                self._make(found, number)
            elif pod["status"].get("phase") in ("Succeeded", "Failed"):
                self._remove(pod)
            if one_by_one and (pod is None or not _is_ready(pod) or _is_going(pod)):
                return None
        surplus = [pods[number] for number in sorted(pods, reverse=True) if number not in wanted]
        for pod in surplus:
            if not _is_going(pod):
                self._remove(pod)
            if one_by_one:
                return None
        if not surplus:
            self._renew(found, [pods[number] for number in wanted if number in pods])
        return None

    def _renew(self, found: Manifest, pods: list[Manifest]) -> None:
        """Replace one Pod of a former template, the highest first, when all are ready."""
        strategy = found["spec"]["updateStrategy"]
        if strategy["type"] != "RollingUpdate" or not all(map(_is_ready, pods)):
            return
        partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
        for pod in reversed(pods[partition:]):
            if labels_of(pod).get(_REVISION) != _revision(found):
                self._remove(pod)
                return

    def _pods(self, found: Manifest) -> dict[int, Manifest]:
        pods = {}
        for pod in self._store.all(POD, found["metadata"]["namespace"]):
            owners = pod["metadata"].get("ownerReferences") or []
            number = name_of(pod).removeprefix(f"{name_of(found)}-")
            if number.isdecimal() and any(one["uid"] == uid_of(found) for one in owners):
                pods[int(number)] = pod
        return pods

    def _make(self, found: Manifest, number: int) -> None:
        spec, set_name = found["spec"], name_of(found)
        pod_name = f"{set_name}-{number}"
        template = spec["template"]
        metadata = template.get("metadata") or {}
        own = {_REVISION: _revision(found), _POD_NAME: pod_name, _INDEX: str(number)}
        owner = {
            "apiVersion": STATEFUL_SET.api_version,
            "kind": STATEFUL_SET.name,
            "name": set_name,
            "uid": uid_of(found),
            "controller": True,
            "blockOwnerDeletion": True,
        }
        pod: dict[str, Any] = {
            "metadata": {
                "name": pod_name,
                "generateName": f"{set_name}-",
                "labels": {**(metadata.get("labels") or {}), **own},
                "annotations": dict(metadata.get("annotations") or {}),
                "ownerReferences": [owner],
            },
            "spec": {
                **template["spec"],
                "hostname": pod_name,
                **({"subdomain": spec["serviceName"]} if spec.get("serviceName") else {}),
            },
        }
        try:
            self._registry.create(POD, found["metadata"]["namespace"], pod)
        except Refusal as refusal:
            words = f"create Pod {pod_name} in StatefulSet {set_name} failed error: {refusal}"
            self._events.tell(found, "FailedCreate", words, source=_SOURCE, warning=True)
            raise
        words = f"create Pod {pod_name} in StatefulSet {set_name} successful"
        self._events.tell(found, "SuccessfulCreate", words, source=_SOURCE)

    def _remove(self, pod: Manifest) -> None:
        options = {"preconditions": {"uid": uid_of(pod)}}
        self._registry.delete(POD, pod["metadata"]["namespace"], name_of(pod), options)

    def _tell(self, found: Manifest, pods: dict[int, Manifest]) -> None:
        revision = _revision(found)
        ready = sum(_is_ready(pod) for pod in pods.values())
        updated = sum(labels_of(pod).get(_REVISION) == revision for pod in pods.values())
        current = found["status"].get("currentRevision", revision)
        if updated == len(pods):
            current = revision
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": len(pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "currentReplicas": sum(labels_of(p).get(_REVISION) == current for p in pods.values()),
            "updatedReplicas": updated,
            "currentRevision": current,
            "updateRevision": revision,
            "collisionCount": 0,
        }
        key = found["metadata"]["namespace"], name_of(found)
        self._registry.write(STATEFUL_SET, *key, {"status": status}, uid=uid_of(found))


def _revision(found: Manifest) -> str:
    template = json.dumps(found["spec"]["template"], sort_keys=True)
    return f"{name_of(found)}-{hashlib.sha256(template.encode()).hexdigest()[:10]}"


def _is_ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _is_going(pod: Manifest) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))
