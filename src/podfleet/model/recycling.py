"""Has a recycled server said that it is ready again? Pure: from what its Pod shows.

Ready is what a Pod is before it is recycled, and still is the moment after: so that alone says
nothing. A server says "ready again" by having been not ready in between (its readiness probe
failed, and then passed), or by having ended: then the kubelet has started its container anew.
"""

from __future__ import annotations

import json
from typing import Any

from podfleet.model.manifest import Manifest, annotations_of
from podfleet.model.names import RECYCLED

__all__ = ["came_back", "snapshot"]


def snapshot(pod: Manifest) -> str:
    """Return what is to be written on a Pod as it is recycled."""
    return json.dumps(_marks(pod))


def came_back(pod: Manifest) -> bool:
    """Return whether the Pod has been not ready, or been started anew, since it was recycled.

    Whether it is ready now is another question.

    Example:
        >>> def pod(since):
        ...     ready = {"type": "Ready", "status": "True", "lastTransitionTime": since}
        ...     return {"metadata": {}, "status": {"conditions": [ready]}}
        >>> recycled = {"podfleet.dev/recycled": snapshot(pod("2026-11-23T10:00:00Z"))}
        >>> came_back({**pod("2026-11-23T10:00:00Z"), "metadata": {"annotations": recycled}})
        False
        >>> came_back({**pod("2026-11-23T10:30:00Z"), "metadata": {"annotations": recycled}})
        True
    """
    try:
        before = json.loads(annotations_of(pod)[RECYCLED])
    except (KeyError, ValueError):
        return True  # not written by podfleet: there is nothing to wait for
    return bool(before != _marks(pod))


def _marks(pod: Manifest) -> list[Any]:
    """Return since when it is ready, and how often its containers were started anew."""
    status = pod.get("status", {})
    since = [
        condition.get("lastTransitionTime")
        for condition in status.get("conditions") or []
        if condition.get("type") == "Ready" and condition.get("status") == "True"
    ]
    restarts = [one.get("restartCount", 0) for one in status.get("containerStatuses") or []]
    return [*since, sum(restarts)]
