"""Every way in which a server does not start, made for real: what is told, and what is left."""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from attrs import frozen

from podfleet import (
    AdmissionRefused,
    AllocationError,
    AllocationTimeout,
    Diagnosis,
    Exhausted,
    Fleet,
    PodfleetError,
    PortPool,
    ServerFailed,
)
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, over_udp, template

pytestmark = pytest.mark.alone  # it counts on a node that has nothing else to start

FIRST, LAST = 26100, 26139
HEALTHZ = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 5}
KILLING = {**HEALTHZ, "failureThreshold": 1}


def a_pod(restarts: str = "Never", **server: Any) -> dict[str, Any]:
    """Return a Pod manifest whose game server's container has these fields."""
    return {"spec": {"restartPolicy": restarts, "containers": [{"name": "server", **server}]}}


@frozen
class Failure:
    """A server that does not start, and what is to be told about it.

    Args:
        name: What is wrong, in short.
        template: What it changes in the template that works.
        error: The error of ``allocate``.
        reason: The diagnosis' reason.
        summary: Words of its summary.
        message: Words of the cluster's message.
        event: Words of a warning of the cluster; nothing where it makes none.
        log: A line of the server's log; nothing where it never ran.
        timeout: Seconds; short where only that ends the wait.
        on: The cluster on which alone it can be made.
    """

    name: str
    template: dict[str, Any]
    error: type[PodfleetError]
    reason: str
    summary: tuple[str, ...]
    message: str = ""
    event: str = ""
    log: str = ""
    timeout: float = 60.0
    on: str = ""


FAILURES = (
    Failure(
        "an image name that is none",
        {"image": "Not:A:Valid/Image"},
        ServerFailed,
        "InvalidImageName",
        ("'Not:A:Valid/Image'", "container 'server'", "is no valid image name"),
        message="invalid reference format",
        event="InspectFailed: Failed to apply default image tag",
    ),
    Failure(
        "a registry that is not there",
        {"image": "127.0.0.1:1/none:1"},
        ServerFailed,
        "ErrImagePull",
        ("'127.0.0.1:1/none:1'", "cannot be pulled", "the node cannot reach the registry"),
        message="connection refused",
        event="Failed: Failed to pull image",
        on="real",
    ),
    Failure(
        "an image that is not there",
        {"image": "example.com/none:1"},
        ServerFailed,
        "ErrImagePull",
        ("'example.com/none:1'", "cannot be pulled", "the registry has no such image"),
        message="cluster.images['example.com/none:1'] = [...]",
        event="Failed: Failed to pull image",
        on="embedded",
    ),
    Failure(
        "a server that crashes again and again",
        {
            "env": {"CRASH": "1", "LAST_LINE": "map not found"},
            # Without a probe Kubernetes calls it ready for the moment that it runs.
            "pod": a_pod("Always", readinessProbe=HEALTHZ),
        },
        ServerFailed,
        "CrashLoopBackOff",
        ("container 'server'", "exited with code 1", "read its log"),
        message="back-off",
        event="BackOff: Back-off restarting failed container",
        log="map not found",
    ),
    Failure(
        "a server that crashes once",
        {
            "env": {
                "NEVER_READY": "1",
                "EXIT_AFTER": "0.5",
                "EXIT_CODE": "3",
                "LAST_LINE": "no licence",
            },
            "pod": a_pod(readinessProbe=HEALTHZ),
        },
        ServerFailed,
        "Error",
        ("container 'server'", "exited with code 3", "read its log"),
        log="no licence",
    ),
    Failure(
        "a server that takes more memory than it may",
        {
            "env": {"NEVER_READY": "1", "HOG_MEMORY_MB": "200"},
            "resources": {"limits": {"memory": "64Mi"}},
            "pod": a_pod(readinessProbe=HEALTHZ),
        },
        ServerFailed,
        "OOMKilled",
        ("container 'server'", "more than its memory limit of 64Mi", "raise the limit"),
        log="ready for players",
    ),
    Failure(
        "a ConfigMap that is not there",
        {"pod": a_pod(envFrom=[{"configMapRef": {"name": "maps"}}])},
        ServerFailed,
        "CreateContainerConfigError",
        ("container 'server'", 'configmap "maps" not found'),
        message='configmap "maps" not found',
        event='Failed: Error: configmap "maps" not found',
    ),
    Failure(
        "a command that does not exist",
        {"command": ["/no/such/server"]},
        ServerFailed,
        "StartError",
        ("container 'server'", "cannot be started", "/no/such/server", "check its command"),
        message="no such file or directory",
        event="Failed: Error: failed to create containerd task",
    ),
    Failure(
        "a readiness probe that fails",
        {"env": {"NEVER_READY": "1"}, "pod": a_pod(readinessProbe=HEALTHZ)},
        AllocationTimeout,
        "Unhealthy",
        ("readiness probe (HTTP GET /healthz on port 8080) fails", "503"),
        message="503",
        event="Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503",
        log="ready for players",
        timeout=12,
    ),
    Failure(
        "a liveness probe that fails",
        {
            "env": {"NEVER_READY": "1"},
            "pod": a_pod(readinessProbe=HEALTHZ, livenessProbe=KILLING),
        },
        ServerFailed,
        "Unhealthy",
        ("killed since its liveness probe failed (HTTP GET /healthz on port 8080)",),
        event="Unhealthy: Liveness probe failed: ",
        log="ready for players",
    ),
    Failure(
        "a startup probe that fails",
        {"env": {"NEVER_READY": "1"}, "pod": a_pod("Always", startupProbe=KILLING)},
        ServerFailed,
        "Unhealthy",
        ("killed since its startup probe failed (HTTP GET /healthz on port 8080)",),
        event="Unhealthy: Startup probe failed: ",
        log="ready for players",
    ),
    Failure(
        "more cpu than any node has",
        {"resources": {"requests": {"cpu": "100"}}},
        Exhausted,
        "Unschedulable",
        ("no node can take the Pod", "not enough cpu on", "request less cpu or add a node"),
        message="Insufficient cpu",
        event="FailedScheduling: 0/",
        timeout=4,
    ),
    Failure(
        "a node that does not exist",
        {"node_selector": {"acme.com/pool": "matches"}},
        Exhausted,
        "Unschedulable",
        ("no node can take the Pod", "labels that do not match the node selector"),
        message="node affinity/selector",
        event="FailedScheduling: 0/",
        timeout=4,
    ),
    Failure(
        "a Secret volume that is not there",
        {
            "pod": {
                "spec": {
                    "containers": [
                        {"name": "server", "volumeMounts": [{"name": "key", "mountPath": "/key"}]}
                    ],
                    "volumes": [{"name": "key", "secret": {"secretName": "signing-key"}}],
                }
            }
        },
        AllocationTimeout,
        "FailedMount",
        ("a volume cannot be mounted", 'secret "signing-key" not found'),
        message='secret "signing-key" not found',
        event='FailedMount: MountVolume.SetUp failed for volume "key"',
        timeout=6,
    ),
)


def test_each_failure_is_told_in_words_and_leaves_nothing(
    backend: Backend, subtests: pytest.Subtests
) -> None:
    pool = PortPool(FIRST, LAST)
    here = "embedded" if backend.cluster.local else "real"
    failures = [one for one in FAILURES if one.on in ("", here)]
    with ExitStack() as running, ThreadPoolExecutor(len(failures)) as threads:
        fleets = [running.enter_context(fleet_of(backend, pool, one)) for one in failures]
        errors = threads.map(refusal, fleets, [one.timeout for one in failures])
        for failure, error in zip(failures, errors, strict=True):
            with subtests.test(failure.name):
                check(failure, error)
        eventually(lambda: not backend.pods())
        eventually(lambda: not pool.in_use)


def fleet_of(backend: Backend, pool: PortPool, failure: Failure) -> Fleet:
    """Return a fleet whose servers fail so."""
    return make(Fleet, backend, pool, template=template(backend, **failure.template))


def refusal(fleet: Fleet, timeout: float) -> PodfleetError | None:
    """Return why a fleet has no server to give."""
    try:
        fleet.allocate(timeout=timeout)
    except PodfleetError as error:
        return error
    return None


def check(failure: Failure, error: PodfleetError | None) -> None:
    """Check what is told about a failure."""
    assert type(error) is failure.error
    assert isinstance(error, ServerFailed | AllocationError)
    told = error.diagnosis
    assert isinstance(told, Diagnosis)
    assert told.reason == failure.reason
    for words in failure.summary:
        assert words in told.summary
    assert failure.message in told.message
    assert found(failure.event, told.events)
    assert found(failure.log, told.log)
    assert told.summary in str(error)


def found(words: str, lines: Iterable[str]) -> bool:
    """Return whether a line has these words; nothing is looked for where there are none."""
    return not words or any(words in line for line in lines)


def test_a_server_that_is_ready_late_is_returned_only_then(backend: Backend) -> None:
    late = template(backend, env={"READY_AFTER": "2"}, pod=a_pod(readinessProbe=HEALTHZ))
    with make(Fleet, backend, PortPool(FIRST, LAST), template=late) as fleet:
        before = time.monotonic()
        server = fleet.allocate(timeout=30)
        assert time.monotonic() - before > 2
        assert over_udp(server.endpoint) == f"{server.name} hello"


def test_a_namespace_that_forbids_host_ports_says_so(backend: Backend) -> None:
    path = f"/api/v1/namespaces/{backend.namespace}"
    backend.cluster.label(path, "pod-security.kubernetes.io/enforce", "baseline")
    pool = PortPool(FIRST, LAST)
    with make(Fleet, backend, pool) as fleet:
        with pytest.raises(AdmissionRefused, match=r"hostPort.*To do: kubectl label ") as no:
            fleet.allocate(timeout=30)
        assert (no.value.status, no.value.plugin) == (403, "PodSecurity")
        assert not pool.in_use
        assert fleet.servers() == []
    assert backend.pods() == []


def test_a_quota_that_is_used_up_is_named(backend: Backend) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": backend.namespace},
        "spec": {"hard": {"pods": "1"}},
    }
    backend.cluster.apply([quota])
    pool = PortPool(FIRST, LAST)
    with make(Fleet, backend, pool) as fleet:
        server = fleet.allocate(timeout=30)
        with pytest.raises(Exhausted, match=r"exceeded quota: small.*raise the quota"):
            fleet.allocate(timeout=30)
        assert list(pool.in_use) == [server.endpoint.port]
        assert fleet.servers() == [server]
    assert len(backend.pods()) == 1
