"""What is said about a Pod as a whole, and about what kept it from a node."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podfleet.model import Verdict
from podfleet.waiters.diagnosis import diagnose, is_ready
from podfleet.waiters.evidence import crashed_container, warnings
from tests.unit.pods import (
    NO_PORTS,
    Json,
    a_pod,
    condition,
    container_status,
    event,
    failed_pod,
    pod_event,
    ready_pod,
    terminated,
    unscheduled_pod,
    waiting,
    what_is_wrong,
)


def test_a_ready_pod_needs_no_diagnosis() -> None:
    assert is_ready(ready_pod())
    assert diagnose(ready_pod()) is None


def test_a_ready_pod_that_is_being_deleted_is_not_ready() -> None:
    pod = ready_pod()
    pod["metadata"]["deletionTimestamp"] = "2026-11-23T04:00:00Z"
    pod["status"]["conditions"].append(
        condition("DisruptionTarget", reason="EvictionByEvictionAPI", message="drained")
    )
    assert not is_ready(pod)
    diagnosis = what_is_wrong(pod)
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.FAILED, "Terminating")
    assert "EvictionByEvictionAPI" in diagnosis.summary


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("Evicted", "evicted"),
        ("NodePorts", "host port"),
        ("NodeAffinity", "labels"),
        ("OutOfcpu", "cpu"),
        ("DeadlineExceeded", "activeDeadlineSeconds"),
        ("UnexpectedAdmissionError", "refused"),
        ("SomethingNew", "failed"),
    ],
)
def test_a_failed_pod_says_the_clusters_reason(reason: str, said: str) -> None:
    diagnosis = what_is_wrong(failed_pod(reason, "the kubelet's words"))
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.FAILED, reason)
    assert said in diagnosis.summary
    assert diagnosis.message == "the kubelet's words"


@pytest.mark.parametrize(("code", "reason"), [(3, "Error"), (137, "OOMKilled")])
def test_a_failed_pod_without_a_reason_says_its_containers(code: int, reason: str) -> None:
    pod = a_pod(
        container_status(terminated(0, "Completed"), name="log"),
        container_status(terminated(code, reason)),
        phase="Failed",
    )
    diagnosis = what_is_wrong(pod)
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.FAILED, reason)
    assert diagnosis.container == "game"
    assert str(code) in diagnosis.summary


def test_a_server_that_ended_well_before_it_was_ready_has_failed() -> None:
    diagnosis = what_is_wrong(a_pod(phase="Succeeded"))
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.FAILED, "Succeeded")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (NO_PORTS, "no free host port on 2 of 2 nodes"),
        (
            # Preemption repeats reasons with counts of its own.
            (
                "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: "
                "1 Insufficient memory, 1 Preemption is not helpful for scheduling."
            ),
            "no node can take the Pod: not enough cpu on 2 of 2 nodes: request less cpu",
        ),
        ("0/1 nodes are available: 1 Insufficient memory.", "not enough memory on 1"),
        ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", "enough nvidia.com/gpu on 1"),
        ("0/9 nodes are available: 9 Too many pods.", "as many Pods as the node may run on 9"),
        ("0/3 nodes are available: 3 node(s) had untolerated taint(s).", "not tolerated on 3"),
        (
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
            "do not match the node selector or affinity on 3",
        ),
        (
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable.",
            "not enough cpu on 1, cordoned on 1 of 2 nodes",
        ),
        ("no nodes available to schedule pods", "the cluster has no nodes"),
        ("0/1 nodes are available: 1 said no.", "1 said no"),
    ],
)
def test_why_no_node_fits_is_told_apart(message: str, said: str) -> None:
    diagnosis = what_is_wrong(unscheduled_pod(message))
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.WAITING, "Unschedulable")
    assert said in diagnosis.summary
    assert diagnosis.message == message


def test_scheduling_gates_are_named() -> None:
    message = "Scheduling is blocked due to non-empty scheduling gates"
    gates = [{"name": "acme.com/quota"}]
    diagnosis = what_is_wrong(unscheduled_pod(message, "SchedulingGated", schedulingGates=gates))
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.WAITING, "SchedulingGated")
    assert "acme.com/quota" in diagnosis.summary


def test_a_pod_that_the_scheduler_has_not_seen_is_waited_for() -> None:
    diagnosis = what_is_wrong({"spec": {}, "status": {"phase": "Pending"}})
    assert "scheduler" in diagnosis.summary


@pytest.mark.parametrize("reason", ["FailedMount", "FailedCreatePodSandBox", "NetworkNotReady"])
def test_what_keeps_the_whole_pod_from_starting_is_read_from_the_events(reason: str) -> None:
    pod = a_pod(container_status(waiting("ContainerCreating")))
    diagnosis = what_is_wrong(pod, pod_event(reason, "details"))
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.WAITING, reason)
    assert "details" in diagnosis.summary
    further = event("Pulling", "Pulling image", kind="Normal", at="20")
    assert what_is_wrong(pod, pod_event(reason, "details"), further).reason == "ContainerCreating"


def test_the_worst_container_is_the_diagnosis() -> None:
    pod = a_pod(
        container_status(waiting("ContainerCreating"), name="log"),
        container_status(waiting("InvalidImageName")),
    )
    assert what_is_wrong(pod).container == "game"


def test_a_readiness_gate_is_named() -> None:
    status = container_status({"running": {}}) | {"ready": True}
    pod = a_pod(
        status,
        phase="Running",
        conditions=(
            condition("ContainersReady"),
            condition("Ready", "False", reason="ReadinessGatesNotReady"),
        ),
        readinessGates=[{"conditionType": "acme.com/registered"}],
    )
    diagnosis = what_is_wrong(pod)
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.WAITING, "ReadinessGatesNotReady")
    assert "acme.com/registered" in diagnosis.summary


def test_a_node_that_went_silent_is_named() -> None:
    pod = ready_pod()
    pod["status"]["conditions"][-1]["status"] = "False"
    diagnosis = what_is_wrong(pod)
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.WAITING, "NodeNotReady")
    assert "node-1" in diagnosis.summary


def test_warnings_are_told_oldest_first_once_each_and_counted() -> None:
    events = [
        event("BackOff", "Back-off restarting", at="30", count=4),
        event("Pulled", "present", kind="Normal"),
        {
            "type": "Warning",
            "reason": "FailedScheduling",
            "note": "no node",
            "eventTime": "2026-11-23T04:00:05.123456Z",
            "series": {"count": 2, "lastObservedTime": "2026-11-23T04:00:06.000000Z"},
        },
        event("Failed", "Error", at="20"),
        event("Failed", "Error", at="21"),
    ]
    assert warnings(events) == (
        "FailedScheduling: no node (x2)",
        "Failed: Error (x2)",
        "BackOff: Back-off restarting (x4)",
    )


def test_only_the_latest_ten_warnings_are_told() -> None:
    told = warnings([event("Failed", str(n), at=f"{n:02}") for n in range(12)])
    assert told == tuple(f"Failed: {n}" for n in range(2, 12))


@pytest.mark.parametrize(
    ("status", "log"),
    [
        (container_status(terminated(3)), ("game", False)),
        (container_status(waiting("CrashLoopBackOff"), last=terminated(3)), ("game", True)),
        (container_status({"running": {}}, last=terminated(3)), ("game", True)),
        (container_status({"running": {}}), ("game", False)),
        (container_status(waiting("ErrImagePull")), None),
    ],
)
def test_the_log_to_read_is_that_of_the_run_that_crashed(
    status: Json, log: tuple[str, bool] | None
) -> None:
    running = container_status({"running": {}}, name="log") | {"ready": True}
    assert crashed_container(a_pod(running, status)) == log


# Arbitrary JSON under the keys that are read, so that odd values are met at every depth.
keys = st.sampled_from(
    [
        "status",
        "spec",
        "metadata",
        "phase",
        "reason",
        "message",
        "conditions",
        "type",
        "containerStatuses",
        "state",
        "lastState",
        "initContainerStatuses",
        "waiting",
        "terminated",
        "running",
        "exitCode",
        "name",
        "ready",
        "containers",
        "startedAt",
        "initContainers",
        "restartPolicy",
        "resources",
        "limits",
        "memory",
        "readinessProbe",
        "httpGet",
        "port",
        "exec",
        "command",
        "readinessGates",
        "conditionType",
        "schedulingGates",
        "deletionTimestamp",
        "nodeName",
        "series",
        "count",
        "involvedObject",
        "fieldPath",
        "lastTimestamp",
        "eventTime",
    ]
)
words = st.sampled_from(
    [
        "True",
        "False",
        "Failed",
        "Running",
        "Pending",
        "Ready",
        "PodScheduled",
        "ContainersReady",
        "CrashLoopBackOff",
        "Warning",
        "OOMKilled",
        "Error",
        "Unhealthy",
        "Killing",
        "Never",
        "Always",
        "game",
        "spec.containers{game}",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text()
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(keys, json_values, max_size=5)


@st.composite
def odd_pods(draw: st.DrawFn) -> Json:
    statuses = st.lists(
        st.fixed_dictionaries({"state": objects, "lastState": json_values}), max_size=3
    )
    status = draw(objects)
    status["containerStatuses"] = draw(statuses | json_values)
    status["initContainerStatuses"] = draw(statuses | json_values)
    return {"metadata": draw(json_values), "spec": draw(objects), "status": status}


@given(pod=odd_pods() | objects, events=st.lists(objects | json_values, max_size=4))
def test_no_json_is_too_odd(pod: Any, events: Any) -> None:
    diagnosis = diagnose(pod, events)
    assert (diagnosis is None) == is_ready(pod)
    assert diagnosis is None or (diagnosis.reason and diagnosis.summary)
    crashed_container(pod)
    assert all(isinstance(line, str) for line in warnings(events))
