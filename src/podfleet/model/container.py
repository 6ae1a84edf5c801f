"""Which container of a Pod is the game server, and what it is doing. Pure.

A Pod may hold more than the game server: containers of the user's own, native sidecars, and what
a webhook injects, in front of the others too. Whether a match goes on is decided by the game
server's container alone, never by the Pod's phase: that of a Pod is Running for as long as any
container runs. The name is written on the Pod as it is created (``podfleet.dev/container``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from podfleet.model.manifest import Manifest
from podfleet.model.names import CONTAINER

__all__ = [
    "SERVER",
    "Run",
    "container_name",
    "container_status",
    "exit_of",
    "has_ended",
    "is_restarted_after",
    "restarts_of",
    "run_of",
]

SERVER = "server"
"""The container's name, unless the template says another or has none of that name."""

_EMPTY: Mapping[str, Any] = {}
_RESTARTS = ("Restart", "RestartAllContainers")  # the actions of restartPolicyRules


@frozen
class Run:
    """One run of the server's process, from a start of its container to its exit.

    Args:
        identity: The ``containerID``; where the cluster shows none, the number of restarts.
        over: Whether it has ended.
    """

    identity: str
    over: bool

    def is_followed_by(self, later: Run | None) -> bool:
        """Return whether this run, or one after it, ended between two sights of the Pod.

        Args:
            later: What the Pod shows now.

        Example:
            >>> running, crashed, again = Run("a", False), Run("a", True), Run("b", False)
            >>> running.is_followed_by(crashed), crashed.is_followed_by(again)
            (True, False)
            >>> running.is_followed_by(again), running.is_followed_by(running)
            (True, False)
        """
        if later is None or later == self:
            return False
        return not (self.over and not later.over)


def container_name(pod: Manifest) -> str:
    """Return the name of the game server's container.

    The one that the annotation names, else the one named ``server``, else the first. Init
    containers, native sidecars among them, and ephemeral containers never are it.

    Example:
        >>> containers = [{"name": "proxy"}, {"name": "game"}]
        >>> container_name({"metadata": {}, "spec": {"containers": containers}})
        'proxy'
        >>> note = {"podfleet.dev/container": "game"}
        >>> container_name({"metadata": {"annotations": note}, "spec": {"containers": containers}})
        'game'
    """
    known = [one.get("name") for one in _items(pod.get("spec"), "containers")]
    named = _mapping(_mapping(pod.get("metadata")).get("annotations")).get(CONTAINER)
    for name in (named, SERVER):
        if isinstance(name, str) and name in known:
            return name
    return str(known[0]) if known else SERVER


def container_status(pod: Manifest) -> Manifest:
    """Return what the kubelet shows of the game server's container; empty if it shows nothing."""
    name = container_name(pod)
    for status in _items(pod.get("status"), "containerStatuses"):
        if status.get("name") == name:
            return status
    return _EMPTY


def has_ended(pod: Manifest) -> bool:
    """Return whether the server's process has ended for good, whatever else runs in its Pod.

    Example:
        >>> def pod(policy, **state):
        ...     return {
        ...         "metadata": {},
        ...         "spec": {
        ...             "restartPolicy": policy,
        ...             "containers": [{"name": "server"}, {"name": "logs"}],
        ...         },
        ...         "status": {
        ...             "phase": "Running",
        ...             "containerStatuses": [{"name": "server", "state": state}],
        ...         },
        ...     }
        >>> has_ended(pod("Never", terminated={"exitCode": 0}))
        True
        >>> has_ended(pod("Always", terminated={"exitCode": 0}))  # it will be started again
        False
    """
    shown = _mapping(pod.get("status"))
    if shown.get("phase") in ("Succeeded", "Failed"):
        return True
    # Asked of every Pod at every change, and nearly always no container of it has ended.
    if all(exit_of(one) is None for one in _items(shown, "containerStatuses")):
        return False
    ended = exit_of(container_status(pod))
    return ended is not None and not _is_restarted(pod, ended)


def exit_of(status: Manifest) -> Manifest | None:
    """Return how a container's present run ended; ``None`` if it has not."""
    ended = _mapping(status.get("state")).get("terminated")
    return ended if isinstance(ended, dict) else None


def is_restarted_after(container: Manifest, pod_policy: str, code: int | None) -> bool:
    """Return whether the kubelet starts a container again.

    https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy, and
    ``ContainerShouldRestart`` in Kubernetes' pkg/api/v1/pod/util.go.

    Args:
        container: The container, of the Pod's spec.
        pod_policy: The Pod's ``restartPolicy``.
        code: The exit code.

    Example:
        >>> is_restarted_after({}, "OnFailure", 0), is_restarted_after({}, "OnFailure", 1)
        (False, True)
        >>> rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
        >>> own = {"restartPolicy": "Never", "restartPolicyRules": rules}
        >>> is_restarted_after(own, "Always", 42), is_restarted_after(own, "Always", 1)
        (True, False)
    """
    policy = container.get("restartPolicy")
    if policy:
        for rule in _items(container, "restartPolicyRules"):
            asked = _mapping(rule.get("exitCodes"))
            values = asked.get("values")
            listed = code in values if isinstance(values, list) else False
            if listed == (asked.get("operator") == "In"):  # the first that matches decides
                if rule.get("action") in _RESTARTS:
                    return True
                break
    match policy or pod_policy:
        case "Never":
            return False
        case "OnFailure":
            return code != 0
    return True


def restarts_of(pod: Manifest) -> int:
    """Return how often the kubelet has started the server's container again."""
    count = container_status(pod).get("restartCount")
    return count if isinstance(count, int) and not isinstance(count, bool) else 0


def run_of(pod: Manifest) -> Run | None:
    """Return the latest run of the server's process; ``None`` if it never ran."""
    status = container_status(pod)
    state = _mapping(status.get("state"))
    ended = exit_of(status)
    if ended is None and "running" not in state:
        # The kubelet waits until it starts the container again: the run before was the latest.
        last = _mapping(status.get("lastState")).get("terminated")
        if not isinstance(last, dict):
            return None
        ended = last
    identity = (ended or _EMPTY).get("containerID") or status.get("containerID")
    return Run(str(identity or restarts_of(pod)), ended is not None)


def _is_restarted(pod: Manifest, ended: Manifest) -> bool:
    name = container_name(pod)
    spec = _mapping(pod.get("spec"))
    own = next((one for one in _items(spec, "containers") if one.get("name") == name), _EMPTY)
    code = ended.get("exitCode")
    policy = spec.get("restartPolicy")
    return is_restarted_after(
        own,
        policy if isinstance(policy, str) else "Always",
        code if isinstance(code, int) else None,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _EMPTY


def _items(value: Any, key: str) -> list[Mapping[str, Any]]:
    found = _mapping(value).get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
