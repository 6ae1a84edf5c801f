"""Pods and events as a real API server shows them, in short."""

from typing import Any

from podfleet.model import Diagnosis
from podfleet.waiters.diagnosis import diagnose

Json = dict[str, Any]

PULL_REFUSED = (
    'failed to pull and unpack image "127.0.0.1:1/none:1": failed to resolve reference '
    '"127.0.0.1:1/none:1": failed to do request: Head "https://127.0.0.1:1/v2/none/manifests/1": '
    "dial tcp 127.0.0.1:1: connect: connection refused"
)
NO_PORTS = (
    "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports. "
    "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
)


def condition(kind: str, status: str = "True", **more: str) -> Json:
    return {"type": kind, "status": status, **more}


def waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, "message": message}}


def terminated(code: int, reason: str = "Error", **more: str) -> Json:
    times = {"startedAt": "2026-11-23T04:00:00Z", "finishedAt": "2026-11-23T04:00:30Z"}
    return {"terminated": {"exitCode": code, "reason": reason, **times, **more}}


def container_status(
    state: Json, *, last: Json | None = None, name: str = "game", **more: Any
) -> Json:
    return {"name": name, "state": state, "lastState": last or {}, "ready": False, **more}


def a_pod(
    *statuses: Json,
    phase: str = "Pending",
    conditions: tuple[Json, ...] = (),
    init: tuple[Json, ...] = (),
    container: Json | None = None,
    **spec: Any,
) -> Json:
    scheduled = condition("PodScheduled")
    return {
        "metadata": {"name": "arena-0", "namespace": "games", "uid": "u"},
        "spec": {
            "nodeName": "node-1",
            "restartPolicy": "Always",
            "containers": [{"name": "game", "image": "acme/arena:1", **(container or {})}],
            **spec,
        },
        "status": {
            "phase": phase,
            "conditions": [scheduled, *conditions],
            "initContainerStatuses": list(init),
            "containerStatuses": list(statuses),
        },
    }


def unscheduled_pod(message: str, reason: str = "Unschedulable", **spec: Any) -> Json:
    pod = a_pod(**spec)
    del pod["spec"]["nodeName"]
    refusal = condition("PodScheduled", "False", reason=reason, message=message)
    pod["status"] = {"phase": "Pending", "conditions": [refusal]}
    return pod


def failed_pod(reason: str, message: str = "") -> Json:
    pod = a_pod(phase="Failed")
    pod["status"] |= {"reason": reason, "message": message}
    return pod


def ready_pod() -> Json:
    status = container_status({"running": {}}) | {"ready": True}
    ready = (condition("ContainersReady"), condition("Ready"))
    return a_pod(status, phase="Running", conditions=ready)


def event(reason: str, message: str, *, at: str = "10", kind: str = "Warning", **more: Any) -> Json:
    return {
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": f"2026-11-23T04:00:{at}Z",
        "involvedObject": {"kind": "Pod", "fieldPath": "spec.containers{game}"},
        **more,
    }


def pod_event(reason: str, message: str, *, at: str = "10") -> Json:
    return event(reason, message, at=at) | {"involvedObject": {"kind": "Pod"}}


def what_is_wrong(pod: Json, *events: Json) -> Diagnosis:
    diagnosis = diagnose(pod, events)
    assert diagnosis is not None
    return diagnosis
