"""Has a recycled server said that it is ready again? Pure: from what its Pod shows.

Ready is what a Pod is before it is recycled, and still is the moment after: so that alone says
nothing. A server says "ready again" by having been not ready in between (its readiness probe
failed, and then passed), or by having ended: then the kubelet has started its container anew.

Only the server's own container counts. Its restarts are the container's own. When it was not ready
is not: the cluster keeps that for all containers of a Pod together, in the condition
ContainersReady (Ready itself changes also when the node falls silent, or a readiness gate closes).
So a change of that condition counts only where no other container can have caused it: none of them
was restarted or has ended since, and none has a readiness probe. Where one has, as Istio's sidecar
does, a replica that sees the server's own container not ready writes that down on the Pod. If none
saw it, it does not count, which costs a server and not a match: one that never is ready again is
deleted after five minutes, while the next match would meet a process that has not left the one
before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from podfleet.model.container import container_name, container_status, run_of
from podfleet.model.manifest import Manifest, annotations_of
from podfleet.model.names import RECYCLED

__all__ = ["came_back", "noted", "snapshot"]

_UNREADY = "unready"


def snapshot(pod: Manifest) -> str:
    """Return what is to be written on a Pod as it is recycled."""
    return json.dumps(_marks(pod), sort_keys=True)


def came_back(pod: Manifest) -> bool:
    """Return whether the server has been not ready, or been started anew, since it was recycled.

    Whether it is ready now is another question.

    Example:
        >>> def pod(since, restarts=0):
        ...     ready = {"type": "ContainersReady", "status": "True", "lastTransitionTime": since}
        ...     return {
        ...         "metadata": {},
        ...         "spec": {"containers": [{"name": "server"}, {"name": "logs"}]},
        ...         "status": {
        ...             "conditions": [ready],
        ...             "containerStatuses": [
        ...                 {"name": "server", "state": {"running": {}}, "restartCount": 0},
        ...                 {"name": "logs", "state": {"running": {}}, "restartCount": restarts},
        ...             ],
        ...         },
        ...     }
        >>> recycled = {"podfleet.dev/recycled": snapshot(pod("2026-11-23T10:00:00Z"))}
        >>> came_back({**pod("2026-11-23T10:00:00Z"), "metadata": {"annotations": recycled}})
        False
        >>> came_back({**pod("2026-11-23T10:30:00Z"), "metadata": {"annotations": recycled}})
        True
        >>> came_back({**pod("2026-11-23T10:30:00Z", 1), "metadata": {"annotations": recycled}})
        False
    """
    try:
        before = json.loads(annotations_of(pod)[RECYCLED])
    except (KeyError, TypeError, ValueError):
        return True  # not written by podfleet: there is nothing to wait for
    if not isinstance(before, dict):
        return False
    now = _marks(pod)
    if before.get("run") != now["run"] or before.get(_UNREADY) is True:
        return True
    if before.get("others") != now["others"] or _another_is_probed(pod):
        return False
    return now["ready"] is not None and before.get("ready") != now["ready"]


def noted(pod: Manifest) -> str | None:
    """Return the note of a recycled server that is not ready; ``None`` if none is needed.

    Example:
        >>> proxy = {"name": "proxy", "readinessProbe": {"tcpSocket": {"port": 15021}}}
        >>> pod = {
        ...     "metadata": {"annotations": {RECYCLED: '{"run": null, "others": {}}'}},
        ...     "spec": {"containers": [{"name": "server"}, proxy]},
        ...     "status": {"containerStatuses": [{"name": "server", "ready": False}]},
        ... }
        >>> noted(pod)
        '{"others": {}, "run": null, "unready": true}'
    """
    if RECYCLED not in annotations_of(pod) or came_back(pod) or not _another_is_probed(pod):
        return None
    if container_status(pod).get("ready") is not False:
        return None
    return json.dumps({**json.loads(annotations_of(pod)[RECYCLED]), _UNREADY: True}, sort_keys=True)


def _marks(pod: Manifest) -> dict[str, Any]:
    """Return which run of the server this is, since when all is ready, and the other containers."""
    status = pod.get("status") or {}
    ready = [
        condition.get("lastTransitionTime")
        for condition in status.get("conditions") or []
        if condition.get("type") == "ContainersReady" and condition.get("status") == "True"
    ]
    run = run_of(pod)
    return {
        "run": None if run is None else run.identity,
        "ready": ready[0] if ready else None,
        "others": {
            one.get("name"): [one.get("restartCount", 0), "terminated" in (one.get("state") or {})]
            for one in _others(pod, "status", "initContainerStatuses", "containerStatuses")
        },
    }


def _another_is_probed(pod: Manifest) -> bool:
    others = _others(pod, "spec", "initContainers", "containers")
    return any(one.get("readinessProbe") for one in others)


def _others(pod: Manifest, part: str, *kinds: str) -> Iterator[Manifest]:
    own = container_name(pod)
    for kind in kinds:
        for one in (pod.get(part) or {}).get(kind) or []:
            if one.get("name") != own:
                yield one
