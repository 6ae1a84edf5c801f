"""`Events`: what the cluster's components say about an object, as ``kubectl describe`` shows it."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from podfleet.local.objects.kinds import EVENT
from podfleet.local.objects.registry import Registry
from podfleet.local.objects.statuses import Refusal
from podfleet.model import Manifest
from podfleet.model.manifest import name_of, uid_of

__all__ = ["Events"]


@define
class Events:
    """Writes Events; one that was told before is counted.

    Args:
        registry: Where they are written.
    """

    registry: Registry
    _told: dict[tuple[str, str, str], str] = field(factory=dict)

    def tell(
        self,
        about: Manifest,
        reason: str,
        message: str,
        *,
        source: str,
        warning: bool = False,
        container: str = "",
        host: str = "",
    ) -> None:
        """Say something about an object.

        Args:
            about: The object.
            reason: A word.
            message: A sentence.
            source: The component that says it: ``kubelet``.
            warning: Whether something is wrong.
            container: Of a Pod: which container it is about.
            host: The Node that it comes from.
        """
        namespace = about["metadata"].get("namespace", "default")
        now = self.registry.clock.stamp()
        told = uid_of(about), reason, message
        known = self.registry.store.get(EVENT, (namespace, self._told.get(told, "")))
        if known is not None:
            count = {"count": known["count"] + 1, "lastTimestamp": now}
            self.registry.write(EVENT, namespace, name_of(known), count)
            return
        path = {"fieldPath": f"spec.containers{{{container}}}"} if container else {}
        event: dict[str, Any] = {
            "metadata": {"generateName": f"{name_of(about)}."},
            "involvedObject": {
                "kind": about["kind"],
                "namespace": namespace,
                "name": name_of(about),
                "uid": uid_of(about),
                "apiVersion": about["apiVersion"],
                "resourceVersion": about["metadata"]["resourceVersion"],
                **path,
            },
            "reason": reason,
            "message": message,
            "source": {"component": source, **({"host": host} if host else {})},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": "Warning" if warning else "Normal",
            "reportingComponent": source,
            "reportingInstance": host,
            "eventTime": None,
        }
        try:
            made = self.registry.create(EVENT, namespace, event)
        except Refusal:  # the namespace is going
            return
        self._told[told] = name_of(made)
