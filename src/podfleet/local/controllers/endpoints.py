"""`Endpoints`: which Pods a Service leads to, as EndpointSlices."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from podfleet.local.controllers.controller import Controller
from podfleet.local.objects.kinds import ENDPOINT_SLICE, POD, SERVICE
from podfleet.local.objects.selectors import matches_labels
from podfleet.local.objects.store import Change
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of, uid_of

__all__ = ["SERVICE_NAME", "Endpoints"]

SERVICE_NAME = "kubernetes.io/service-name"
"""Label: whose endpoints a slice has."""


class Endpoints(Controller):
    """Looks at Services, again whenever a Pod that they select changes."""

    def keys(self, change: Change) -> Iterable[Hashable]:
        """Return a Service, or those that select a Pod."""
        if change.kind == SERVICE:
            return [change.key] if change.after else []
        if change.kind != POD:
            return []
        namespace = change.key[0]
        shown = [one.manifest for one in (change.before, change.after) if one is not None]
        return [
            (namespace, name_of(service))
            for service in self._store.all(SERVICE, namespace)
            if any(matches_labels(service["spec"].get("selector"), labels_of(p)) for p in shown)
        ]

    def reconcile(self, key: Hashable) -> float | None:
        """Write the slice of one Service."""
        assert isinstance(key, tuple)
        service = self._store.get(SERVICE, key)
        if service is None or not service["spec"].get("selector"):
            return None
        namespace, name = key
        wanted = self._slice(service)
        if self._store.get(ENDPOINT_SLICE, key) is None:
            self._registry.create(ENDPOINT_SLICE, namespace, wanted)
        else:
            changed = {"endpoints": wanted["endpoints"], "ports": wanted["ports"]}
            self._registry.write(ENDPOINT_SLICE, namespace, name, changed)
        return None

    def _slice(self, service: Manifest) -> dict[str, Any]:
        spec = service["spec"]
        owner = {
            "apiVersion": "v1",
            "kind": "Service",
            "name": name_of(service),
            "uid": uid_of(service),
            "controller": True,
            "blockOwnerDeletion": True,
        }
        pods = [
            pod
            for pod in self._store.all(POD, service["metadata"]["namespace"])
            if matches_labels(spec["selector"], labels_of(pod)) and _is_shown(pod)
        ]
        return {
            "metadata": {
                "name": name_of(service),
                "labels": {**labels_of(service), SERVICE_NAME: name_of(service)},
                "ownerReferences": [owner],
            },
            "addressType": "IPv4",
            "endpoints": [_endpoint(service, pod) for pod in pods],
            "ports": [
                {
                    "name": port.get("name", ""),
                    "port": target_port(port, pods),
                    "protocol": port["protocol"],
                }
                for port in spec.get("ports") or []
            ],
        }


def _is_shown(pod: Manifest) -> bool:
    over = pod["status"].get("phase") in ("Succeeded", "Failed")
    return bool(pod["status"].get("podIP")) and not over


def _endpoint(service: Manifest, pod: Manifest) -> dict[str, Any]:
    conditions = pod["status"].get("conditions") or []
    serving = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    going = bool(pod["metadata"].get("deletionTimestamp"))
    published = bool(service["spec"].get("publishNotReadyAddresses"))
    spec = pod["spec"]
    named = spec.get("subdomain") == name_of(service) and spec.get("hostname")
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": published or (serving and not going),
            "serving": serving or published,
            "terminating": going,
        },
        **({"hostname": spec["hostname"]} if named else {}),
        "nodeName": spec["nodeName"],
        "targetRef": {
            "kind": "Pod",
            "namespace": pod["metadata"]["namespace"],
            "name": name_of(pod),
            "uid": uid_of(pod),
        },
    }


def target_port(port: Manifest, pods: Iterable[Manifest]) -> int:
    """Return the number of a Service's target port, which may be a container port's name."""
    target = port["targetPort"]
    if isinstance(target, int):
        return target
    named = (
        one["containerPort"]
        for pod in pods
        for container in pod["spec"]["containers"]
        for one in container.get("ports") or []
        if one.get("name") == target
    )
    return int(next(named, port["port"]))
