"""Is it known that a server runs? Pure: from what its Pod shows.

When a node stops reporting, Kubernetes' node lifecycle controller sets the condition Ready of the
node's Pods to False, and leaves everything else as the kubelet wrote it last: the containers still
read as ready. No kubelet writes that combination, so it tells a silent node from a server that is
not ready. The Pod is deleted later, by default after another 300 seconds; until then its process
may be gone, or run on unseen with its players.

From pkg/controller/nodelifecycle and ``MarkPodsNotReady`` in pkg/controller/util/node; the reasons
that a kubelet gives are in pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from podfleet.model.manifest import Manifest, parse_time

__all__ = ["unreachable_since"]


def unreachable_since(pod: Manifest) -> datetime | None:
    """Return since when a Pod's node does not report; ``None`` if it does, as far as is known.

    A Pod that was not ready when its node fell silent does not show it.

    Example:
        >>> ready = {"type": "Ready", "status": "False"}
        >>> ready["lastTransitionTime"] = "2026-11-23T04:00:00Z"
        >>> containers = {"type": "ContainersReady", "status": "True"}
        >>> pod = {"status": {"phase": "Running", "conditions": [ready, containers]}}
        >>> print(unreachable_since(pod))
        2026-11-23 04:00:00+00:00
        >>> ready["reason"] = "ContainersNotReady"  # a kubelet wrote that
        >>> print(unreachable_since(pod))
        None
    """
    status = pod.get("status")
    if not isinstance(status, dict) or status.get("phase") in ("Succeeded", "Failed"):
        return None
    ready, containers = _condition(status, "Ready"), _condition(status, "ContainersReady")
    silent = (
        ready.get("status") in ("False", "Unknown")
        and not ready.get("reason")
        and containers.get("status") == "True"
    )
    # What older clusters write.
    if not (silent or status.get("reason") == "NodeLost" or status.get("phase") == "Unknown"):
        return None
    return _time(ready.get("lastTransitionTime")) or _time(status.get("startTime")) or _EPOCH


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = status.get("conditions")
    for one in conditions if isinstance(conditions, list) else ():
        if isinstance(one, dict) and one.get("type") == kind:
            return one
    return {}


def _time(value: object) -> datetime | None:
    try:
        return parse_time(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None
