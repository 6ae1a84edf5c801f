"""Which check refused a request: as a real API server answers, each told apart, with its remedy."""

import json
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from podfleet import errors
from podfleet.kube.status import error_from_answer, error_from_status

POST = "POST /api/v1/namespaces/games/pods"
POD = {"name": "arena-1", "kind": "pods"}
DENIED = 'admission webhook "ports.example.com" denied the request: '


@frozen
class Answer:
    """What an API server answers, and what podfleet makes of it."""

    message: str
    kind: type[errors.ApiError]
    plugin: str
    by: str
    remedy: str
    code: int = 403
    reason: str = "Forbidden"
    details: Any = POD

    @property
    def error(self) -> errors.ApiError:
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }
        return error_from_answer(POST, self.code, json.dumps(status).encode(), {})


def pod(why: str) -> str:
    return f'pods "arena-1" is forbidden: {why}'


ANSWERS = {
    "missing right": Answer(
        'pods is forbidden: User "system:serviceaccount:games:backend" cannot create resource '
        '"pods" in API group "" in the namespace "games"',
        errors.Forbidden,
        "",
        "",
        "apply what fleet.manifests() returns",
    ),
    "no credentials": Answer(
        'pods is forbidden: User "system:anonymous" cannot create resource "pods" in API group "" '
        'in the namespace "games"',
        errors.Forbidden,
        "",
        "",
        "give credentials",
    ),
    "quota used up": Answer(
        pod("exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2"),
        errors.QuotaExceeded,
        "ResourceQuota",
        "small",
        "raise the quota, or release servers",
    ),
    "quota too small for one": Answer(
        pod(
            "exceeded quota: small, requested: limits.cpu=4,pods=1, used: limits.cpu=0,pods=0, "
            "limited: limits.cpu=2,pods=9"
        ),
        errors.QuotaExceeded,
        "ResourceQuota",
        "small",
        "raise the quota, or request less (resources=)",
    ),
    "quota demands limits": Answer(
        pod("failed quota: cpus: must specify limits.cpu for: server; memory for: log,server"),
        errors.AdmissionRefused,
        "ResourceQuota",
        "cpus",
        'set resources={"limits": {"cpu": ...}, "requests": {"memory": ...}}',
    ),
    "quota not counted yet": Answer(
        pod("status unknown for quota: small, resources: pods"),
        errors.ServerError,
        "ResourceQuota",
        "small",
        "try again: the quota is new",
    ),
    "priority without a quota": Answer(
        "insufficient quota to match these scopes: [{PriorityClass In [system-node-critical]}]",
        errors.AdmissionRefused,
        "ResourceQuota",
        "",
        "create a ResourceQuota with that scope",
        code=500,
        reason="",
        details=None,
    ),
    "LimitRange": Answer(
        pod("maximum cpu usage per Container is 1, but limit is 2"),
        errors.AdmissionRefused,
        "LimitRanger",
        "",
        "kubectl describe limitrange -n games",
    ),
    "LimitRange, several": Answer(
        pod(
            "[minimum memory usage per Pod is 1Gi.  No request is specified, cpu max limit to "
            "request ratio per Container is 2, but provided ratio is 4.000000]"
        ),
        errors.AdmissionRefused,
        "LimitRanger",
        "",
        "change resources= in the template to fit the LimitRange",
    ),
    "Pod Security, host ports": Answer(
        pod(
            'violates PodSecurity "baseline:latest": hostPort (container "server" uses hostPort '
            "7000)"
        ),
        errors.AdmissionRefused,
        "PodSecurity",
        "",
        "kubectl label --overwrite namespace games pod-security.kubernetes.io/enforce=privileged; "
        "or, where that forbids hostPorts, use NodePortPerPod",
    ),
    "Pod Security": Answer(
        pod(
            'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
            '(container "server" must set securityContext.allowPrivilegeEscalation=false)'
        ),
        errors.AdmissionRefused,
        "PodSecurity",
        "",
        "set what the message names in the template (pod=)",
    ),
    "webhook": Answer(
        f"{DENIED}hostPort 7000 is not allowed",
        errors.AdmissionRefused,
        "webhook",
        "ports.example.com",
        "change what webhook ports.example.com names",
    ),
    "policy": Answer(
        pod("ValidatingAdmissionPolicy 'ports' with binding 'games' denied request: no hostPorts"),
        errors.AdmissionRefused,
        "policy",
        "ports",
        "change what policy ports names",
        code=422,
        reason="Invalid",
        details={**POD, "causes": [{"message": "ValidatingAdmissionPolicy 'ports' with ..."}]},
    ),
    "policy, with another reason": Answer(
        pod("ValidatingAdmissionPolicy 'ports' with binding 'games' denied request: who are you"),
        errors.AdmissionRefused,
        "policy",
        "ports",
        "change what policy ports names",
        code=401,
        reason="Unauthorized",
    ),
    "mutating policy": Answer(
        pod("policy 'ports' with binding 'games' denied request: expression failed"),
        errors.AdmissionRefused,
        "policy",
        "ports",
        "exempt namespace games",
        code=422,
        reason="Invalid",
    ),
    "webhook unreachable": Answer(
        'Internal error occurred: failed calling webhook "ports.example.com": failed to call '
        'webhook: Post "https://127.0.0.1:9443/?timeout=10s": dial tcp: connection refused',
        errors.ServerError,
        "webhook",
        "ports.example.com",
        "start what serves webhook ports.example.com",
        code=500,
        reason="InternalError",
        details={"causes": [{"message": 'failed calling webhook "ports.example.com": ...'}]},
    ),
    "webhook without dry run": Answer(
        'admission webhook "ports.example.com" does not support dry run',
        errors.Invalid,
        "webhook",
        "ports.example.com",
        "set sideEffects of webhook ports.example.com",
        code=400,
        reason="BadRequest",
    ),
    "service account": Answer(
        pod('error looking up service account games/players: serviceaccount "players" not found'),
        errors.AdmissionRefused,
        "ServiceAccount",
        "",
        "kubectl create serviceaccount -n games players",
    ),
    "namespace ending": Answer(
        pod("unable to create new content in namespace games because it is being terminated"),
        errors.AdmissionRefused,
        "NamespaceLifecycle",
        "",
        "use another namespace, or wait until games is deleted",
        details={
            **POD,
            "causes": [
                {
                    "reason": "NamespaceTerminating",
                    "message": "namespace games is being terminated",
                    "field": "metadata.namespace",
                }
            ],
        },
    ),
    "namespace missing": Answer(
        'namespaces "games" not found',
        errors.NotFound,
        "NamespaceLifecycle",
        "",
        "kubectl create namespace games",
        code=404,
        reason="NotFound",
        details={"name": "games", "kind": "namespaces"},
    ),
    "priority class": Answer(
        pod("no PriorityClass with name urgent was found"),
        errors.AdmissionRefused,
        "Priority",
        "",
        "create PriorityClass urgent",
    ),
    "runtime class": Answer(
        pod('pod rejected: RuntimeClass "gvisor" not found'),
        errors.AdmissionRefused,
        "RuntimeClass",
        "",
        "create RuntimeClass gvisor",
    ),
    "owner reference": Answer(
        pod(
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set "
            "finalizers on: , <nil>"
        ),
        errors.Forbidden,
        "OwnerReferencesPermissionEnforcement",
        "",
        "apply what fleet.manifests() returns",
    ),
    "starting": Answer(
        pod("not yet ready to handle request"),
        errors.ServerError,
        "NamespaceLifecycle",
        "",
        "try again: the API server has just started",
    ),
    "a check that podfleet does not know": Answer(
        pod("today is Sunday"),
        errors.AdmissionRefused,
        "",
        "",
        "change the template (pod=), or the namespace's policy",
    ),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_each_check_is_told_apart_and_has_its_remedy(answer: Answer) -> None:
    error = answer.error
    assert type(error) is answer.kind
    assert (error.plugin, error.refused_by) == (answer.plugin, answer.by)
    assert error.remedy.startswith(answer.remedy) or answer.remedy in error.remedy
    assert error.said == answer.message
    assert str(error) == f"{POST}: {answer.message}. To do: {error.remedy}."
    assert (error.status, error.reason) == (answer.code, answer.reason)


LURES = [
    answer.message for name, answer in ANSWERS.items() if not answer.message.startswith(DENIED)
]


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 413, 422, 429, 500, 503, 504])
def test_a_webhook_refuses_with_any_code_and_any_words(code: int) -> None:
    for said in (*LURES, "cannot", "User cannot", "range is full", "exceeded quota: x, used: "):
        for reason in ("", "AlreadyExists", "Conflict", "NotFound", "Unauthorized", "Expired"):
            details = {"kind": "namespaces", "causes": [{"reason": "NamespaceTerminating"}]}
            error = Answer(DENIED + said, errors.ApiError, "", "", "", code, reason, details).error
            assert type(error) is errors.AdmissionRefused
            assert (error.plugin, error.refused_by) == ("webhook", "ports.example.com")
            passing = code == 429 or code >= 500
            assert ("which may pass: try again" in error.remedy) is passing


@pytest.mark.parametrize("code", [401, 403, 413, 422])
def test_a_policy_refuses_with_any_words(code: int) -> None:
    frame = "ValidatingAdmissionPolicy 'ports' with binding 'games' denied request: "
    for said in LURES:
        error = Answer(pod(frame + said), errors.ApiError, "", "", "", code).error
        assert type(error) is errors.AdmissionRefused
        assert (error.plugin, error.refused_by) == ("policy", "ports")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["causes", "kind", "name", "reason"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "code": JSON | st.integers(400, 599),
            "reason": JSON,
            "message": JSON | st.sampled_from([one.message for one in ANSWERS.values()]),
            "details": JSON
            | st.fixed_dictionaries(
                {"causes": JSON, "retryAfterSeconds": JSON, "kind": JSON | st.just("namespaces")}
            ),
        },
    )
)
def test_any_status_gives_an_error_that_can_be_printed(status: dict[str, Any]) -> None:
    error = error_from_status(POST, status)
    assert 400 <= error.status <= 599
    str(error).encode()
    assert error.remedy
    assert isinstance(error.details, dict)
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")
