"""What is said about a container that keeps its Pod from being ready."""

import pytest

from podfleet.model import Verdict
from tests.unit.pods import (
    PULL_REFUSED,
    Json,
    a_pod,
    container_status,
    event,
    terminated,
    waiting,
    what_is_wrong,
)


@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        ("InvalidImageName", "couldn't parse image name", "'acme/arena:1'"),
        ("ErrImageNeverPull", "Container image is not present", "imagePullPolicy is Never"),
        ("CreateContainerConfigError", 'configmap "nope" not found', 'configmap "nope" not found'),
        ("CreateContainerError", "no command specified", "no command specified"),
        ("RunContainerError", 'exec: "/nope": no such file', "cannot be started"),
    ],
)
def test_what_no_retry_mends_has_failed_at_once(reason: str, message: str, said: str) -> None:
    diagnosis = what_is_wrong(a_pod(container_status(waiting(reason, message))))
    assert diagnosis.verdict is Verdict.FAILED
    assert (diagnosis.reason, diagnosis.message) == (reason, message)
    assert said in diagnosis.summary
    assert diagnosis.container == "game"


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (
            "CreateContainerConfigError",
            "failed to sync configmap cache: timed out waiting for the condition",
        ),
        ("CreateContainerError", "context deadline exceeded"),
    ],
)
def test_what_the_kubelet_mends_by_itself_is_given_a_grace(reason: str, message: str) -> None:
    diagnosis = what_is_wrong(a_pod(container_status(waiting(reason, message))))
    assert diagnosis.verdict is Verdict.FAILING


@pytest.mark.parametrize(
    "reason",
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    ],
)
def test_an_image_that_cannot_be_pulled_is_given_a_grace(reason: str) -> None:
    diagnosis = what_is_wrong(a_pod(container_status(waiting(reason, PULL_REFUSED))))
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.FAILING, reason)
    assert diagnosis.summary == (
        "the image 'acme/arena:1' of container 'game' cannot be pulled: "
        "the node cannot reach the registry"
    )


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("pull access denied, repository does not exist", "refuses access"),
        ("dial tcp: lookup ghcr.example: no such host", "look up"),
        ("tls: failed to verify certificate: x509: unknown authority", "TLS"),
        ("toomanyrequests: You have reached your pull rate limit", "limits the rate"),
        ("no match for platform in manifest: not found", "architecture"),
        ("write /var/lib: no space left on device", "disk is full"),
        ("ghcr.example/acme/arena:9: not found", "no such image"),
        ("odd", "check the name"),
    ],
)
def test_the_cause_of_a_failed_pull_is_named(message: str, cause: str) -> None:
    pod = a_pod(container_status(waiting("ErrImagePull", message)))
    assert cause in what_is_wrong(pod).summary


def test_between_two_pulls_the_events_tell_the_cause() -> None:
    pod = a_pod(container_status(waiting("ContainerCreating")))
    failed = event("Failed", f'Failed to pull image "acme/arena:1": {PULL_REFUSED}', at="10")
    again = event("Pulling", 'Pulling image "acme/arena:1"', kind="Normal", at="20")
    pulled = event("Pulled", "Successfully pulled image", kind="Normal", at="30")
    assert what_is_wrong(pod).verdict is Verdict.WAITING
    diagnosis = what_is_wrong(pod, again, failed)
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.FAILING, "ErrImagePull")
    assert "cannot reach the registry" in diagnosis.summary
    assert what_is_wrong(pod, failed, again, pulled).verdict is Verdict.WAITING


def test_a_crash_loop_says_the_exit_code_and_how_often() -> None:
    state = waiting("CrashLoopBackOff", "back-off 20s restarting failed container=game")
    pod = a_pod(container_status(state, last=terminated(3), restartCount=2), phase="Running")
    diagnosis = what_is_wrong(pod)
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.FAILING, "CrashLoopBackOff")
    assert diagnosis.summary == (
        "container 'game' exited with code 3 (restarted 2 times): read its log"
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "has to keep running"),
        (127, "command was not found"),
        (137, "SIGKILL"),
        (139, "SIGSEGV"),
        (143, "SIGTERM"),
    ],
)
def test_an_exit_code_is_explained(code: int, said: str) -> None:
    pod = a_pod(container_status(terminated(code)), phase="Running")
    diagnosis = what_is_wrong(pod)
    assert diagnosis.verdict is Verdict.FAILING
    assert str(code) in diagnosis.summary
    assert said in diagnosis.summary


@pytest.mark.parametrize("state", [waiting("CrashLoopBackOff", "back-off 10s"), {"running": {}}])
def test_out_of_memory_wins_over_the_crash_loop(state: Json) -> None:
    limit = {"resources": {"limits": {"memory": "64Mi"}}}
    status = container_status(state, last=terminated(137, "OOMKilled"), restartCount=1)
    diagnosis = what_is_wrong(a_pod(status, phase="Running", container=limit))
    assert diagnosis.reason == "OOMKilled"
    assert "memory limit of 64Mi" in diagnosis.summary
    assert "137" in diagnosis.summary


def test_out_of_memory_without_a_limit_blames_the_node() -> None:
    pod = a_pod(container_status(terminated(137, "OOMKilled")), phase="Running")
    assert "the node ran out of memory" in what_is_wrong(pod).summary


def test_a_container_that_runs_again_after_a_crash_is_waited_for() -> None:
    status = container_status({"running": {}}, last=terminated(137), restartCount=1)
    diagnosis = what_is_wrong(a_pod(status, phase="Running"))
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.WAITING, "Error")
    assert diagnosis.summary.endswith("; it runs again but is not ready yet")


def test_a_command_that_cannot_run_has_failed_in_the_back_off_too() -> None:
    last = terminated(128, "StartError", message='exec: "/nope": no such file or directory')
    pod = a_pod(container_status(waiting("CrashLoopBackOff", "back-off"), last=last))
    diagnosis = what_is_wrong(pod)
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.FAILED, "StartError")
    assert '"/nope"' in diagnosis.summary


def test_a_container_killed_by_its_probe_names_the_probe() -> None:
    probe = {"livenessProbe": {"tcpSocket": {"port": 7777}}}
    pod = a_pod(
        container_status(waiting("CrashLoopBackOff"), last=terminated(137)), container=probe
    )
    message = "Container game failed liveness probe, will be restarted"
    diagnosis = what_is_wrong(pod, event("Killing", message, kind="Normal", at="25"))
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.FAILING, "Unhealthy")
    assert "its liveness probe failed (TCP on port 7777)" in diagnosis.summary
    later = event("Killing", message, kind="Normal", at="45")
    assert what_is_wrong(pod, later).reason == "CrashLoopBackOff"


@pytest.mark.parametrize("phase", ["Running", "Succeeded"])
def test_a_container_killed_by_its_probe_for_good_names_the_probe_too(phase: str) -> None:
    """Of one that is not restarted the kubelet says only that it is stopped."""
    ended = container_status(terminated(0, "Completed"))
    pod = a_pod(ended, phase=phase, restartPolicy="Never")
    events = (
        event("Unhealthy", "Liveness probe failed: HTTP 503", at="19"),
        event("Unhealthy", "Readiness probe failed: HTTP 503", at="19"),
        event("Killing", "Stopping container game", kind="Normal", at="20"),
    )
    diagnosis = what_is_wrong(pod, *events)
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.FAILED, "Unhealthy")
    assert "killed since its liveness probe failed" in diagnosis.summary
    assert what_is_wrong(pod, *events[:2]).reason == "Completed"
    pod["metadata"]["deletionTimestamp"] = "2026-11-23T04:00:18Z"
    assert what_is_wrong(pod, *events).reason != "Unhealthy"  # who deleted it stopped it


@pytest.mark.parametrize(
    ("policy", "code", "verdict"),
    [
        ("Always", 1, Verdict.FAILING),
        ("OnFailure", 1, Verdict.FAILING),
        ("OnFailure", 0, Verdict.FAILED),
        ("Never", 1, Verdict.FAILED),
    ],
)
def test_a_container_that_is_not_restarted_has_failed(
    policy: str, code: int, verdict: Verdict
) -> None:
    # A second container runs on, so the Pod's phase does not tell.
    statuses = (container_status(terminated(code)), container_status({"running": {}}, name="log"))
    pod = a_pod(*statuses, phase="Running", restartPolicy=policy)
    diagnosis = what_is_wrong(pod)
    assert (diagnosis.verdict, diagnosis.container) == (verdict, "game")


@pytest.mark.parametrize(
    ("probe", "where"),
    [
        ({"httpGet": {"path": "/ready", "port": 8080}}, " (HTTP GET /ready on port 8080)"),
        ({"tcpSocket": {"port": "game"}}, " (TCP on port game)"),
        ({"grpc": {"port": 9000}}, " (gRPC on port 9000)"),
        ({"exec": {"command": ["cat", "/tmp/ready"]}}, " (cat /tmp/ready)"),
    ],
)
def test_a_failing_probe_says_where_it_asks_and_what_it_got(probe: Json, where: str) -> None:
    status = container_status({"running": {}}, started=True)
    pod = a_pod(status, phase="Running", container={"readinessProbe": probe})
    assert f"waits for its readiness probe{where}" in what_is_wrong(pod).summary
    message = "Readiness probe failed: HTTP probe failed with statuscode: 503"
    diagnosis = what_is_wrong(pod, event("Unhealthy", message))
    assert (diagnosis.verdict, diagnosis.reason) == (Verdict.WAITING, "Unhealthy")
    assert f"readiness probe{where} fails: HTTP probe failed" in diagnosis.summary
    assert diagnosis.container == "game"


def test_a_startup_probe_is_what_a_container_that_has_not_started_waits_for() -> None:
    probes = {"startupProbe": {"tcpSocket": {"port": 1}}, "readinessProbe": {"grpc": {"port": 2}}}
    status = container_status({"running": {}}, started=False)
    pod = a_pod(status, phase="Running", container=probes)
    assert "startup probe (TCP on port 1)" in what_is_wrong(pod).summary


def test_an_init_container_that_fails_is_the_cause() -> None:
    spec = [{"name": "setup", "image": "acme/setup:1"}]
    setup = container_status(waiting("CrashLoopBackOff"), last=terminated(2), name="setup")
    pod = a_pod(container_status(waiting("PodInitializing")), init=(setup,), initContainers=spec)
    diagnosis = what_is_wrong(pod)
    assert (diagnosis.verdict, diagnosis.container) == (Verdict.FAILING, "setup")
    assert diagnosis.summary.startswith("init container 'setup' exited with code 2")


def test_an_init_container_at_work_is_waited_for() -> None:
    done = container_status(terminated(0, "Completed"), name="done")
    busy = container_status({"running": {}}, name="busy")
    pod = a_pod(container_status(waiting("PodInitializing")), init=(done, busy))
    diagnosis = what_is_wrong(pod)
    assert (diagnosis.verdict, diagnosis.container) == (Verdict.WAITING, "busy")


def test_a_sidecar_that_ends_is_a_crash() -> None:
    spec = [{"name": "proxy", "image": "acme/proxy:1", "restartPolicy": "Always"}]
    proxy = container_status(terminated(0, "Completed"), name="proxy")
    running = container_status({"running": {}}) | {"ready": True}
    diagnosis = what_is_wrong(a_pod(running, init=(proxy,), initContainers=spec, phase="Running"))
    assert diagnosis.verdict is Verdict.FAILING
    assert diagnosis.summary.startswith("sidecar 'proxy' ended by itself")
