"""A Pod's status, as the kubelet works it out from its containers. Pure.

From Kubernetes' pkg/kubelet/kubelet_pods.go (getPhase, generateAPIPodStatus) and
pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field

from podfleet.model import Manifest

__all__ = ["ContainerState", "pod_status"]


@define
class ContainerState:
    """What a container does now, and did before.

    Args:
        spec: The container, of the Pod's spec.
        state: ``{"waiting": ...}``, ``{"running": ...}`` or ``{"terminated": ...}``.
        last: How the run before ended, in the same form.
        restarts: How often it was started again.
        started: Whether its startup probe has passed; without one, whether it runs.
        probed: Whether its readiness probe passes; without one, true.
    """

    spec: Manifest
    state: Mapping[str, Any] = field(factory=dict)
    last: Mapping[str, Any] = field(factory=dict)
    restarts: int = 0
    started: bool = False
    probed: bool = True
    identity: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.spec["name"])

    @property
    def ready(self) -> bool:
        """Whether it counts as ready."""
        return "running" in self.state and self.started and self.probed

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that runs on."""
        return self.spec.get("restartPolicy") == "Always"

    def status(self) -> dict[str, Any]:
        """Return what the Pod's status says of it."""
        image = self.spec["image"]
        return {
            "name": self.name,
            "state": dict(self.state),
            "lastState": dict(self.last),
            "ready": self.ready,
            "restartCount": self.restarts,
            "image": image,
            "imageID": f"podfleet://{image}" if self.identity else "",
            "started": self.started,
            **({"containerID": self.identity} if self.identity else {}),
        }


def pod_status(
    pod: Manifest,
    init: Sequence[ContainerState],
    states: Sequence[ContainerState],
    *,
    now: str,
    started: str,
    host: str,
    address: str | None,
    failure: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return a Pod's status.

    Args:
        pod: The Pod, with the status that it had.
        init: Its init containers.
        states: Its containers.
        now: When a condition that changes does so.
        started: When the kubelet took it.
        host: The Node's address.
        address: The Pod's own; ``None`` until it has one.
        failure: A reason and a message, if the kubelet ended it.
    """
    before = pod.get("status") or {}
    policy = pod["spec"]["restartPolicy"]
    phase = "Failed" if failure else _phase(policy, init, states)
    known = {one["type"]: one for one in before.get("conditions") or []}
    initialized = all(_is_done(one) for one in init)
    unready = [one.name for one in [*states, *(i for i in init if i.is_sidecar)] if not one.ready]
    containers = _ready_condition(phase, unready)
    ready = _gated(pod, known, containers)
    incomplete = [one.name for one in init if not _is_done(one)]
    wanted: list[dict[str, Any]] = [
        {"type": "PodReadyToStartContainers", "status": _word(address is not None)},
        {
            "type": "Initialized",
            "status": _word(initialized),
            **(
                {}
                if initialized
                else {
                    "reason": "ContainersNotInitialized",
                    "message": f"containers with incomplete status: [{' '.join(incomplete)}]",
                }
            ),
        },
        {"type": "Ready", **ready},
        {"type": "ContainersReady", **containers},
    ]
    own = {one["type"] for one in wanted}
    conditions = [_dated(one, known.get(one["type"]), now) for one in wanted]
    conditions += [one for kind, one in known.items() if kind not in own]
    return {
        "phase": phase,
        "conditions": conditions,
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        **({"podIP": address, "podIPs": [{"ip": address}]} if address else {}),
        "startTime": started,
        **({"initContainerStatuses": [one.status() for one in init]} if init else {}),
        "containerStatuses": [one.status() for one in states],
        "qosClass": before.get("qosClass", "BestEffort"),
        **({"reason": failure[0], "message": failure[1]} if failure else {}),
    }


def _phase(policy: str, init: Sequence[ContainerState], states: Sequence[ContainerState]) -> str:
    for one in init:
        ended = one.state.get("terminated")
        if ended and ended["exitCode"] and policy == "Never" and not one.is_sidecar:
            return "Failed"
        if not _is_done(one):
            return "Pending"
    if any("waiting" in one.state and not one.last for one in states):
        return "Pending"
    if any("running" in one.state for one in states):
        return "Running"
    codes = [(one.state.get("terminated") or one.last["terminated"])["exitCode"] for one in states]
    if policy == "Always":
        return "Running"
    if not any(codes):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _is_done(one: ContainerState) -> bool:
    if one.is_sidecar:
        return one.started
    ended = one.state.get("terminated")
    return ended is not None and not ended["exitCode"]


def _ready_condition(phase: str, unready: Sequence[str]) -> dict[str, Any]:
    if phase == "Succeeded":
        return {"status": "False", "reason": "PodCompleted"}
    if phase == "Failed":
        return {"status": "False", "reason": "PodFailed"}
    if not unready:
        return {"status": "True"}
    return {
        "status": "False",
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{' '.join(unready)}]",
    }


def _gated(pod: Manifest, known: Mapping[str, Any], ready: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Pod's readiness: its containers', and its readiness gates."""
    if ready["status"] != "True":
        return dict(ready)
    gates = [one["conditionType"] for one in pod["spec"].get("readinessGates") or []]
    closed = [gate for gate in gates if known.get(gate, {}).get("status") != "True"]
    if not closed:
        return dict(ready)
    told = "; ".join(
        f'corresponding condition of pod readiness gate "{gate}" '
        + ("does not exist." if gate not in known else 'is not "True".')
        for gate in closed
    )
    return {"status": "False", "reason": "ReadinessGatesNotReady", "message": told}


def _dated(wanted: dict[str, Any], before: Manifest | None, now: str) -> dict[str, Any]:
    since = before["lastTransitionTime"] if before and before["status"] == wanted["status"] else now
    return {**wanted, "lastProbeTime": None, "lastTransitionTime": since}


def _word(truth: bool) -> str:
    return "True" if truth else "False"
