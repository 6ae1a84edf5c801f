"""Every admission check refuses `allocate` with an error of its own, and `preflight` finds it."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podfleet import (
    AdmissionRefused,
    ApiError,
    Cluster,
    Exhausted,
    Finding,
    Fleet,
    Forbidden,
    GameServer,
    HeadlessDNS,
    HostPort,
    NotFound,
    Port,
    QuotaExceeded,
    ServerError,
    ServerFailed,
    ServerState,
    StatefulSet,
    Unauthorized,
)
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live.arena import ANY_NODE, eventually, make, own_ports, template
from tests.live.command import Desk
from tests.live.denying import HOOK, policy, webhook
from tests.live.faults import faulty
from tests.live.test_match_over import helper

ENFORCE = "pod-security.kubernetes.io/enforce"
AT_ONCE = 15.0  # seconds, of the 60 that an allocation is given; a webhook's outage is retried
REAL = pytest.mark.only("real", "the embedded cluster asks no webhooks and has no policies")
PLAYED = pytest.mark.only("embedded", "the answers are played; real ones are tested above")
DENIED = f'admission webhook "{HOOK}" denied the request: cannot '
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "AlreadyExists",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
}


def refusal(fleet: Fleet, **wish: Any) -> ApiError:
    """Return what the API server answered to an allocation, which failed long before its time."""
    before = time.monotonic()
    with pytest.raises((ApiError, Exhausted)) as refused:
        fleet.allocate(timeout=60, **wish)
    assert time.monotonic() - before < AT_ONCE
    error = refused.value.__cause__ if isinstance(refused.value, Exhausted) else refused.value
    assert isinstance(error, ApiError)
    eventually(lambda: fleet.servers() == [])
    return error


def found(fleet: Fleet, wanted: Callable[[Finding], bool] = lambda _: True) -> Finding:
    """Return the one finding, as soon as the cluster has taken note of what was changed."""

    def settled() -> tuple[Finding, ...]:
        findings = fleet.preflight()
        return findings if any(map(wanted, findings)) else ()

    findings = eventually(settled)
    assert len(findings) == 1, [str(finding) for finding in findings]
    return findings[0]


def check(
    fleet: Fleet,
    kind: type[ApiError],
    plugin: str,
    by: str,
    remedy: str,
    *,
    what: str = "the cluster refuses this fleet's Pods",
    **wish: Any,
) -> ApiError:
    """Check that the preflight and an allocation tell the same, and return the error."""
    finding = found(fleet, lambda one: what in one.what)
    error = refusal(fleet, **wish)
    assert type(error) is kind
    assert (error.plugin, error.refused_by) == (plugin, by)
    assert remedy in error.remedy
    assert str(error).endswith(f"To do: {error.remedy}.")
    assert finding.remedy == error.remedy
    assert not finding.advice
    assert what in finding.what
    return error


def settings(backend: Backend, kind: str, name: str, **spec: Any) -> None:
    metadata = {"name": name, "namespace": backend.namespace}
    backend.cluster.apply([{"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}])


@REAL
def test_a_webhook_denies_with_any_status(backend: Backend, tmp_path: Path) -> None:
    said = 'User "x" cannot use hostPorts: exceeded quota: of patience'
    with webhook(backend, tmp_path) as hook, make(Fleet, backend) as fleet:
        for code, reason, passing in (
            (403, "Forbidden", False),
            (0, "", False),  # the API server makes 400 of it
            (401, "Unauthorized", False),
            (404, "NotFound", False),
            (409, "AlreadyExists", False),
            (409, "Conflict", False),
            (410, "Expired", False),
            (422, "Invalid", False),
            (429, "TooManyRequests", True),
            (500, "InternalError", True),
            (503, "ServiceUnavailable", True),
        ):
            hook.status = {"code": code, "reason": reason, "message": said}
            hook.asked = 0
            remedy = "which may pass: try again" if passing else "names in the template (pod=)"
            error = check(fleet, AdmissionRefused, "webhook", HOOK, remedy)
            assert (error.status, error.reason) == (code or 400, reason)
            assert error.said == f'admission webhook "{HOOK}" denied the request: {said}'
            assert hook.asked == 1  # and not again
        hook.status = None
        eventually(lambda: fleet.preflight() == ())
        assert fleet.allocate(timeout=60)


@REAL
def test_a_webhook_that_cannot_be_reached(backend: Backend, tmp_path: Path) -> None:
    with webhook(backend, tmp_path) as hook, make(Fleet, backend) as fleet:
        hook.stop()
        remedy = f"start what serves webhook {HOOK}"
        error = check(fleet, ServerError, "webhook", HOOK, remedy)
        assert (error.status, error.reason) == (500, "InternalError")
        assert "connection refused" in error.said


@REAL
def test_a_webhook_denies_a_sessions_lease(backend: Backend, tmp_path: Path) -> None:
    group = "coordination.k8s.io"
    with webhook(backend, tmp_path, "leases", group) as hook, make(Fleet, backend) as fleet:
        hook.status = {"code": 409, "reason": "Conflict", "message": "no Leases"}
        what = "the cluster refuses this fleet's Leases"
        check(fleet, AdmissionRefused, "webhook", HOOK, HOOK, what=what, session="match-1")
        eventually(lambda: backend.pods() == [])


@REAL
def test_a_webhook_denies_claims(backend: Backend, tmp_path: Path) -> None:
    with (
        webhook(backend, tmp_path, operations=("UPDATE",)) as hook,
        make(Fleet, backend, ready=1) as fleet,
    ):
        eventually(lambda: fleet.status().servers[ServerState.READY] == 1)
        assert fleet.preflight() == ()
        # As a test of a JSON patch that fails answers: others were faster.
        hook.status = {"code": 422, "reason": "Invalid", "message": "no changes"}
        finding = found(fleet, lambda one: "claims of Pods" in one.what)
        assert HOOK in finding.remedy
        with pytest.raises(AdmissionRefused, match=HOOK):
            fleet.allocate(timeout=60)
        hook.status = None
        assert fleet.allocate(timeout=60)


@REAL
def test_a_policy_denies(backend: Backend) -> None:
    with make(Fleet, backend) as fleet:
        with policy(backend) as name:
            error = check(fleet, AdmissionRefused, "policy", name, f"policy {name} names")
            assert (error.status, error.reason) == (422, "Invalid")
        eventually(lambda: fleet.preflight() == ())
        with policy(backend, reason="RequestEntityTooLarge") as name:
            error = check(fleet, AdmissionRefused, "policy", name, f"policy {name} names")
            assert (error.status, error.reason) == (413, "RequestEntityTooLarge")


def test_a_quota_is_used_up(backend: Backend) -> None:
    settings(backend, "ResourceQuota", "small", hard={"pods": "0"})
    with make(Fleet, backend) as fleet:
        error = check(fleet, QuotaExceeded, "ResourceQuota", "small", "raise the quota")
        assert isinstance(error, AdmissionRefused)
        assert error.status == 403


def test_a_quota_demands_limits(backend: Backend) -> None:
    hard = {"limits.cpu": "2", "requests.memory": "1Gi"}
    settings(backend, "ResourceQuota", "cpus", hard=hard)
    with make(Fleet, backend) as fleet:
        wanted = 'set resources={"limits": {"cpu": ...}, "requests": {"memory": ...}}'
        error = check(fleet, AdmissionRefused, "ResourceQuota", "cpus", wanted)
        assert "must specify limits.cpu for: server" in error.said
    resources = {"limits": {"cpu": "1"}, "requests": {"memory": "16Mi"}}
    with make(Fleet, backend, template=template(backend, resources=resources)) as fleet:
        assert fleet.preflight() == ()  # as the remedy said
        assert fleet.allocate(timeout=60)
    large = {"limits": {"cpu": "4"}, "requests": {"memory": "16Mi"}}
    with make(Fleet, backend, template=template(backend, resources=large)) as fleet:
        with pytest.raises(Exhausted, match=r"exceeded quota: cpus, .*or release servers"):
            fleet.allocate(timeout=60)
        (server,) = fleet.servers()
        server.release()


@REAL
def test_a_limit_range_refuses(backend: Backend) -> None:
    settings(backend, "LimitRange", "small", limits=[{"type": "Container", "max": {"cpu": "500m"}}])
    resources = {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}
    with make(Fleet, backend, template=template(backend, resources=resources)) as fleet:
        remedy = f"kubectl describe limitrange -n {backend.namespace}"
        error = check(fleet, AdmissionRefused, "LimitRanger", "", remedy)
        assert "maximum cpu usage per Container is 500m, but limit is 1" in error.said


def test_pod_security_refuses(backend: Backend) -> None:
    path = f"/api/v1/namespaces/{backend.namespace}"
    with make(Fleet, backend) as fleet:
        backend.cluster.label(path, ENFORCE, "baseline")
        check(fleet, AdmissionRefused, "PodSecurity", "", "use NodePortPerPod")


@REAL
def test_pod_security_wants_a_security_context(backend: Backend) -> None:
    path = f"/api/v1/namespaces/{backend.namespace}"
    with make(Fleet, backend, exposure=HeadlessDNS()) as fleet:
        backend.cluster.label(path, ENFORCE, "restricted")
        remedy = "set what the message names in the template (pod=)"
        error = check(fleet, AdmissionRefused, "PodSecurity", "", remedy)
        assert "allowPrivilegeEscalation != false" in error.said


def test_a_service_account_is_missing(backend: Backend) -> None:
    pod = {"spec": {"serviceAccountName": "players"}}
    with make(Fleet, backend, template=template(backend, pod=pod)) as fleet:
        remedy = f"create it (kubectl create serviceaccount -n {backend.namespace} players)"
        check(fleet, AdmissionRefused, "ServiceAccount", "", remedy)


@REAL
def test_a_class_is_missing(backend: Backend) -> None:
    for field, plugin in (("priorityClassName", "Priority"), ("runtimeClassName", "RuntimeClass")):
        classy = template(backend, pod={"spec": {field: "none-such"}})
        with make(Fleet, backend, template=classy) as fleet:
            remedy = f"create {plugin.removesuffix('Class')}Class none-such"
            check(fleet, AdmissionRefused, plugin, "", remedy)


def test_a_namespace_is_missing(backend: Backend) -> None:
    admin = Cluster(kubeconfig=backend.cluster.kubeconfig)
    gone = f"{backend.namespace}-gone"
    with make(Fleet, backend, grant=False, cluster=admin, namespace=gone) as fleet:
        check(fleet, NotFound, "NamespaceLifecycle", "", f"(kubectl create namespace {gone})")


def test_a_namespace_is_ending(backend: Backend) -> None:
    admin = Cluster(kubeconfig=backend.cluster.kubeconfig)
    path = f"/api/v1/namespaces/{backend.namespace}"
    holder = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "holder",
            "namespace": backend.namespace,
            "finalizers": ["example.com/hold"],
        },
    }
    backend.cluster.apply([holder])
    with make(Fleet, backend, grant=False, cluster=admin) as fleet:
        backend.cluster.delete(path)
        try:
            remedy = f"use another namespace, or wait until {backend.namespace} is deleted"
            error = check(fleet, AdmissionRefused, "NamespaceLifecycle", "", remedy)
            (cause,) = error.details["causes"]
            assert cause["reason"] == "NamespaceTerminating"
        finally:
            held = f"{path}/configmaps/holder"
            backend.cluster.patch(held, {"op": "remove", "path": "/metadata/finalizers"})


def test_a_right_is_missing(backend: Backend) -> None:
    fleet = make(Fleet, backend, grant=False)
    roles = fleet.manifests(backend.account)
    for role in roles:
        if role["kind"] == "Role":
            for rule in role["rules"]:
                if rule["resources"] == ["pods"]:
                    rule["verbs"] = [verb for verb in rule["verbs"] if verb != "create"]
    backend.grant(roles)
    with fleet:
        what = f"no right to create pods in namespace {backend.namespace}"
        eventually(lambda: len(fleet.preflight()) == 1)
        error = check(fleet, Forbidden, "", "", "apply what fleet.manifests() returns", what=what)
        assert 'cannot create resource "pods"' in error.said


def test_the_pods_of_a_stateful_set_are_refused(backend: Backend) -> None:
    """The StatefulSet itself is accepted, and its controller is refused later."""
    settings(backend, "ResourceQuota", "small", hard={"pods": "0"})
    workload = StatefulSet(replicas=1)
    fleet = make(Fleet, backend, exposure=HeadlessDNS(), workload=workload)
    advice = found(fleet, lambda one: one.advice)
    assert "run preflight once as an administrator" in advice.remedy
    admin = Cluster(kubeconfig=backend.cluster.kubeconfig)
    looked = make(
        Fleet, backend, exposure=HeadlessDNS(), workload=workload, cluster=admin, grant=False
    )
    finding = found(looked, lambda one: "refuses this fleet's Pods" in one.what)
    assert "exceeded quota: small" in finding.why
    with fleet:
        told = found(fleet, lambda one: not one.advice)  # by the controller's event
        assert (told.what, told.remedy) == (finding.what, finding.remedy)
        with pytest.raises(Exhausted, match=r"Pods of its StatefulSet are refused: .*quota: small"):
            fleet.allocate(timeout=2)
    backend.cluster.delete(f"/api/v1/namespaces/{backend.namespace}/resourcequotas/small")
    with fleet:
        assert fleet.allocate(timeout=60)
        eventually(lambda: fleet.preflight() == ())  # its Pods were all accepted


def denied(method: str, path: str, code: int) -> Fault:
    reason, message = REASONS[code], f"{DENIED}{REASONS[code]}"
    return Fault(method, path, math.inf, status=code, reason=reason, message=message)


@PLAYED
def test_a_write_that_a_webhook_denies_is_not_repeated(backend: Backend) -> None:
    """Whatever status it chose: each has another meaning where the API server itself says it."""
    with faulty(backend) as (api, behind), make(Fleet, behind) as fleet:
        for code in REASONS:
            api.faults.append(denied("POST", "/pods$", code))
            before = len(api.seen)
            error = refusal(fleet)
            assert type(error) is AdmissionRefused
            assert (error.status, error.refused_by) == (code, HOOK)
            made = [one for one in api.seen[before:] if one.startswith("POST")]
            assert len(made) == 1, made
            api.faults.clear()
        assert fleet.allocate(timeout=30)


@PLAYED
def test_a_claim_that_a_webhook_denies_is_no_lost_race(backend: Backend) -> None:
    with faulty(backend) as (api, behind), make(Fleet, behind, ready=1) as fleet:
        eventually(lambda: fleet.status().servers[ServerState.READY] == 1)
        for code in REASONS:
            api.faults.append(denied("PATCH", "/pods/", code))
            before = len(api.seen)
            began = time.monotonic()
            with pytest.raises(AdmissionRefused, match=HOOK) as refused:
                fleet.allocate(timeout=30)
            assert refused.value.status == code
            with pytest.raises(AdmissionRefused, match=HOOK):
                fleet.allocate("match-1", timeout=30)
            assert time.monotonic() - began < 4  # before, each waited 5 s for its cleaning up
            made = [one for one in api.seen[before:] if "PATCH" in one and "/pods/" in one]
            assert len(made) == 3, made  # of the session's claim it is tried to take it back
            api.faults.clear()
        server = fleet.allocate("match-1", timeout=30)
        assert fleet.find("match-1") == server


@PLAYED
def test_a_dry_run_that_is_not_accepted_is_a_finding(backend: Backend) -> None:
    with faulty(backend) as (api, behind):
        fleet = make(Fleet, behind)
        eventually(lambda: fleet.preflight() == ())
        for path, what in (
            ("/pods[?]dryRun", "Pods"),
            ("/leases[?]dryRun", "Leases"),
        ):
            for code in REASONS:
                api.faults.append(denied("POST", path, code))
                finding = found(fleet)
                assert what in finding.what
                assert finding.why == f"{DENIED}{REASONS[code]}"
                assert HOOK in finding.remedy
                api.faults.clear()
        # Of a proxy, say: no right is missing, so nothing else would tell.
        api.faults.append(Fault("POST", "dryRun", math.inf, status=403))
        findings = fleet.preflight()
        assert {one.why for one in findings} == {"podfleet.testing answers 403"}
        api.faults.clear()
        said = f'admission webhook "{HOOK}" does not support dry run'
        api.faults.append(Fault("POST", "dryRun", math.inf, status=400, message=said))
        finding = found(fleet)
        assert finding.advice
        assert finding.what.startswith("whether the cluster accepts this fleet's Pods")
        assert f"set sideEffects of webhook {HOOK}" in finding.remedy
        api.faults.clear()
        said = (
            f'Internal error occurred: failed calling webhook "{HOOK}": context deadline exceeded'
        )
        api.faults.append(Fault("POST", "/pods[?]dryRun", math.inf, status=500, message=said))
        before = len(api.seen)
        finding = found(fleet)
        assert (finding.why, finding.advice) == (said, False)
        tries = [one for one in api.seen[before:] if "/pods?dryRun" in one]
        assert len(tries) == 1  # a webhook that hangs takes its time
        api.faults.clear()
        api.faults.append(Fault("POST", "dryRun", math.inf, status=401))
        with pytest.raises(Unauthorized):  # nothing is known of the fleet
            fleet.preflight()
        assert not [
            one
            for one in api.seen
            if one.startswith("POST") and "/pods" in one and "dryRun=All" not in one
        ]


@PLAYED
def test_a_refused_pool_backs_off_and_says_so_once(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "podfleet"),
        faulty(backend) as (api, behind),
        make(Fleet, behind, ready=1) as fleet,
    ):
        api.faults.append(denied("POST", "/pods$", 409))
        tried = f"POST /api/v1/namespaces/{backend.namespace}/pods"
        began = time.monotonic()
        fleet.start()
        eventually(lambda: api.seen.count(tried) >= 4)
        assert time.monotonic() - began > 0.5 * (0.5 + 1 + 2)  # at least half of each pause
        api.faults.clear()
        eventually(lambda: fleet.status().servers[ServerState.READY] == 1)
        assert sum(HOOK in record.getMessage() for record in caplog.records) == 1


@PLAYED
def test_a_create_that_arrives_twice_is_not_taken_for_a_quota_used_up(backend: Backend) -> None:
    """The second copy is refused: the first has taken the last of the quota."""
    settings(backend, "ResourceQuota", "one", hard={"pods": "1"})
    with faulty(backend) as (api, behind), make(Fleet, behind) as fleet:
        api.faults.append(Fault("POST", "/pods$", duplicate=True))
        server = fleet.allocate(timeout=30)
        assert [pod["metadata"]["name"] for pod in backend.pods()] == [server.name]


@PLAYED
def test_a_shared_object_that_is_denied_is_no_missing_right(backend: Backend) -> None:
    with faulty(backend) as (api, behind):
        fleet = make(Fleet, behind, exposure=HeadlessDNS(), grant=False)
        backend.grant(
            tuple(one for one in fleet.manifests(backend.account) if one["kind"] != "Service")
        )
        api.faults.append(denied("POST", "/services", 403))
        with pytest.raises(AdmissionRefused, match=HOOK):
            fleet.start()


@PLAYED
def test_the_commands_preflight_tells_of_a_webhooks_403(backend: Backend, tmp_path: Path) -> None:
    with faulty(backend) as (api, behind):
        desk = Desk.of(behind, tmp_path)
        eventually(lambda: desk.podfleet("preflight", "game:fleet").code == 0)
        api.faults.append(denied("POST", "/pods[?]dryRun", 403))
        told = desk.podfleet("preflight", "game:fleet")
        assert (told.code, told.err) == (1, "")
        assert f"{DENIED}Forbidden" in told.out
        assert f"to do: change what webhook {HOOK} names" in told.out


@REAL
def test_a_mutating_webhook_that_drops_the_hostport(backend: Backend, tmp_path: Path) -> None:
    """Its Pods are accepted, and cannot be reached."""
    pool = own_ports(10)
    hosts = HostPort(pool, address=ANY_NODE)
    shape = template(backend, ports=[Port("game", 7777, "TCP")])
    with (
        webhook(backend, tmp_path, mutating=True) as hook,
        make(Fleet, backend, exposure=hosts, template=shape) as fleet,
    ):
        hook.patch = [{"op": "remove", "path": "/spec/containers/0/ports/0/hostPort"}]
        failed = eventually(lambda: failure(fleet))
        assert failed is not None
        assert failed.diagnosis.reason == "NoEndpoint"
        assert "its Pod has no hostPort for port 'game'" in str(failed)
        eventually(lambda: not backend.pods())
        eventually(lambda: not pool.in_use)


def failure(fleet: Fleet) -> ServerFailed | None:
    """Return how an allocation fails; ``None`` while the webhook is not asked yet."""
    try:
        fleet.allocate(timeout=60).release()
    except ServerFailed as error:
        return error
    return None


@REAL
def test_a_container_that_a_webhook_injects_in_front_is_not_the_server(
    backend: Backend, tmp_path: Path
) -> None:
    shape = template(backend, env={"EXIT_AFTER": "5", "EXIT_CODE": "0"})
    injected = helper(backend, "injected", 9300)
    with (
        webhook(backend, tmp_path, mutating=True) as hook,
        make(Fleet, backend, exposure=HeadlessDNS(), template=shape) as fleet,
    ):
        hook.patch = [{"op": "add", "path": "/spec/containers/0", "value": injected}]

        def has_it(server: GameServer) -> bool:
            (pod,) = [one for one in backend.pods() if one["metadata"]["name"] == server.name]
            return [one["name"] for one in pod["spec"]["containers"]] == ["injected", "server"]

        server = fleet.allocate("match-1", timeout=60)
        while not has_it(server):  # the API server asks the webhook after a moment
            server.release()
            server = fleet.allocate("match-1", timeout=60)
        eventually(lambda: fleet.find("match-1") is None)
        (pod,) = [one for one in backend.pods() if one["metadata"]["name"] == server.name]
        assert pod["status"]["phase"] == "Running"  # the injected one runs on
