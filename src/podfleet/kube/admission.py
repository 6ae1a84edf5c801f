"""Which admission check of the API server refused a request, and what to do about it. Pure.

Nearly every check answers 403 with the reason Forbidden, as a missing right does, and a webhook or
a policy answers with any code and any reason that its author chose. Where the ``Status`` has
structure that is unique, that decides: the cause NamespaceTerminating, the kind "namespaces" of a
404. Everything else is told apart by the fixed frames of Kubernetes' own code, each anchored at the
beginning of the message, because what a webhook or a policy says after its frame may hold any
words. The file in which Kubernetes builds a message stands beside its pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from podfleet.errors import (
    AdmissionRefused,
    ApiError,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
    ServerError,
)

__all__ = ["APPLY", "Refused", "refused"]

APPLY = "apply what fleet.manifests() returns"

_UNKNOWN = "change the template (pod=), or the namespace's policy"


@frozen
class Refused:
    """What an answer says about the check that gave it.

    Args:
        error: The class of the error.
        remedy: What to do.
        plugin: The check, by Kubernetes' name of it, or ``"webhook"`` or ``"policy"``.
        by: The name of the webhook, policy or quota; empty where the check has none.
    """

    error: type[ApiError]
    remedy: str
    plugin: str = ""
    by: str = ""


@frozen
class _Said:
    """A message whose frame has matched: its parts, and the namespace of the request."""

    parts: Mapping[str, str]
    code: int
    namespace: str
    rest: str


_Remedy = str | Callable[[_Said], str]


@frozen
class _Frame:
    """How the messages of one check begin."""

    begins: re.Pattern[str]
    plugin: str
    remedy: _Remedy
    error: type[ApiError] = AdmissionRefused


def refused(code: int, message: str, details: Mapping[str, Any], namespace: str) -> Refused | None:
    """Return what refused a request; ``None`` if no admission check and no missing right did.

    Args:
        code: The HTTP status.
        message: The ``Status``'s message.
        details: Its details.
        namespace: The namespace of the request; empty if it had none.

    Example:
        >>> denied = 'admission webhook "ports.example.com" denied the request: hostPort 7000'
        >>> refused(403, denied, {}, "games").by
        'ports.example.com'
    """
    if (found := _first(_WEBHOOKS, code, message, namespace)) is not None:
        return found
    if code == 404 and details.get("kind") == "namespaces":
        # plugin/namespace/lifecycle/admission.go returns the answer of the namespace's lookup
        name = str(details.get("name") or namespace)
        remedy = f"create the namespace (kubectl create namespace {name}), or name another"
        return Refused(NotFound, remedy, "NamespaceLifecycle")
    if _ends(details):
        return Refused(AdmissionRefused, _ending(namespace), "NamespaceLifecycle")
    if (frame := _FORBIDDEN.match(message)) is not None:
        rest = message[frame.end() :]
        found = _first(_CHECKS, code, rest, namespace)
        if found is None and code == 403:
            return Refused(
                AdmissionRefused, "change the template (pod=), or the namespace's policy"
            )
        return found
    if (found := _first(_UNFRAMED, code, message, namespace)) is not None:
        return found
    return Refused(Forbidden, APPLY) if code == 403 else None


def _first(frames: tuple[_Frame, ...], code: int, message: str, namespace: str) -> Refused | None:
    for frame in frames:
        if (match := frame.begins.match(message)) is not None:
            parts = {key: value or "" for key, value in match.groupdict().items()}
            said = _Said(parts, code, namespace, message[match.end() :])
            remedy = frame.remedy if isinstance(frame.remedy, str) else frame.remedy(said)
            return Refused(frame.error, remedy, frame.plugin, parts.get("by", ""))
    return None


def _ends(details: Mapping[str, Any]) -> bool:
    """Return whether the namespace is being deleted.

    From apiserver, pkg/admission/plugin/namespace/lifecycle/admission.go.
    """
    causes = details.get("causes")
    return isinstance(causes, list) and any(
        isinstance(cause, Mapping) and cause.get("reason") == "NamespaceTerminating"
        for cause in causes
    )


def _ending(namespace: str) -> str:
    return (
        f"use another namespace, or wait until {namespace or 'this one'} is deleted and create it "
        "again"
    )


def _denied(said: _Said) -> str:
    if said.code == 429 or said.code >= 500:
        return (
            f"webhook {said.parts['by']} answered {said.code}, which may pass: try again; "
            "if it does not, read the webhook's log"
        )
    return (
        f"change what webhook {said.parts['by']} names in the template (pod=), or have the webhook "
        f"exempt namespace {said.namespace}"
    )


def _unreachable(said: _Said) -> str:
    return (
        f"start what serves webhook {said.parts['by']}, or remove its webhook configuration: with "
        "failurePolicy Fail, nothing can be written while it does not answer"
    )


def _policy(said: _Said) -> str:
    return (
        f"change what policy {said.parts['by']} names in the template (pod=), or exempt namespace "
        f"{said.namespace} from the policy's binding"
    )


def _used_up(said: _Said) -> str:
    listed = re.search(r", used: (.*), limited: ", said.rest)
    used = dict(one.split("=", 1) for one in listed[1].split(",") if "=" in one) if listed else {}
    if not used or set(used.values()) != {"0"}:
        return "raise the quota, or release servers"
    if any(re.match(r"(?:requests|limits)\.|cpu$|memory$", name) for name in used):
        return "raise the quota, or request less (resources=): it is less than one server needs"
    return "raise the quota: it is less than one server needs"


def _must_specify(said: _Said) -> str:
    """Name each resource that a quota counts, so that each container has to set it."""
    sections: dict[str, list[str]] = {}
    for one in said.parts["resources"].split("; "):
        resource = one.partition(" for: ")[0]
        section, _, name = resource.rpartition(".")
        names = sections.setdefault(section or "requests", [])
        if name not in names:  # a quota on cpu counts requests.cpu
            names.append(name)
    asked = ", ".join(
        f'"{section}": {{{", ".join(f"{chr(34)}{name}{chr(34)}: ..." for name in names)}}}'
        for section, names in sections.items()
    )
    return (
        f"set resources={{{asked}}} in the template, and for further containers in pod=; "
        "or give the namespace a LimitRange with defaults"
    )


def _limit_range(said: _Said) -> str:
    return (
        "change resources= in the template to fit the LimitRange, or change that: "
        f"kubectl describe limitrange -n {said.namespace}"
    )


def _pod_security(said: _Said) -> str:
    label = (
        f"kubectl label --overwrite namespace {said.namespace} "
        "pod-security.kubernetes.io/enforce=privileged"
    )
    if "hostPort" in said.rest:
        return (
            f"{label}; or, where that forbids hostPorts, use NodePortPerPod; or change the "
            "template (pod=)"
        )
    return f"set what the message names in the template (pod=); or {label}"


def _account(said: _Said) -> str:
    name = said.parts["account"]
    return (
        f"create it (kubectl create serviceaccount -n {said.namespace} {name}), or name another "
        "as serviceAccountName in the template (pod=)"
    )


def _right(said: _Said) -> str:
    if said.parts["user"] == "system:anonymous":
        return "give credentials: the kubeconfig or the service account has none"
    return APPLY


def _frame(
    begins: str, plugin: str, remedy: _Remedy, error: type[ApiError] = AdmissionRefused
) -> _Frame:
    return _Frame(re.compile(begins, re.DOTALL), plugin, remedy, error)


_WEBHOOKS = (
    # pkg/admission/plugin/webhook/errors/statuserror.go: the code and reason are the webhook's
    _frame(r'admission webhook "(?P<by>[^"]*)" denied the request', "webhook", _denied),
    _frame(
        r'admission webhook "(?P<by>[^"]*)" does not support dry run',
        "webhook",
        lambda said: (
            f"set sideEffects of webhook {said.parts['by']} to None or NoneOnDryRun: until then "
            "no dry run can tell what the cluster lets pass"
        ),
        Invalid,
    ),
    # pkg/util/webhook/error.go, within apimachinery's NewInternalError
    _frame(
        r'Internal error occurred: failed calling webhook "(?P<by>[^"]*)"',
        "webhook",
        _unreachable,
        ServerError,
    ),
)

# apimachinery, pkg/api/errors/errors.go: NewForbidden
_FORBIDDEN = re.compile(r'(?:[a-z0-9.-]+(?: "[^"]*")? is )?forbidden: ')

_QUOTA = "ResourceQuota"
_SERVING = "try again: the API server has just started"

_CHECKS = (
    # endpoints/handlers/responsewriters/errors.go: ForbiddenStatusError
    _frame(
        r'User "(?P<user>(?:[^"\\]|\\.)*)" cannot \S+ (?:resource|path) ', "", _right, Forbidden
    ),
    # pkg/admission/plugin/policy/validating/dispatcher.go, .../policy/generic/policy_dispatcher.go
    _frame(
        r"""(?:ValidatingAdmissionPolicy|policy) ['"](?P<by>[^'"]*)['"]"""
        r"(?: with binding '[^']*')? denied request: ",
        "policy",
        _policy,
    ),
    # pod-security-admission, admission/admission.go
    _frame(r'violates PodSecurity "', "PodSecurity", _pod_security),
    # pkg/admission/plugin/resourcequota/controller.go
    _frame(
        r"exceeded quota: (?P<by>[^,]+), ",
        _QUOTA,
        _used_up,
        QuotaExceeded,
    ),
    # ... and pkg/quota/v1/evaluator/core/pods.go
    _frame(r"failed quota: (?P<by>[^:]+): must specify (?P<resources>.*)", _QUOTA, _must_specify),
    _frame(
        r"failed quota: (?P<by>[^:]+): ", _QUOTA, "change what the message names in the template"
    ),
    _frame(
        r"status unknown for quota: (?P<by>[^,]+), ",
        _QUOTA,
        "try again: the quota is new and not counted yet; if that stays, look at "
        "kube-controller-manager",
        ServerError,
    ),
    _frame(
        r"insufficient quota to consume: ",
        _QUOTA,
        "create a ResourceQuota that covers what the message names",
    ),
    # plugin/pkg/admission/limitranger/admission.go; several are joined within brackets
    _frame(
        r"\[?(?:(?:minimum|maximum) \S+ usage|\S+ max limit to request ratio) per \w+ is ",
        "LimitRanger",
        _limit_range,
    ),
    # plugin/pkg/admission/serviceaccount/admission.go
    _frame(
        r"error looking up service account [^/]*/(?P<account>[^:]*): serviceaccounts? \"[^\"]*\" "
        r"not found",
        "ServiceAccount",
        _account,
    ),
    # plugin/pkg/admission/priority/admission.go
    _frame(
        r"no PriorityClass with name (?P<name>\S+) was found",
        "Priority",
        lambda said: (
            f"create PriorityClass {said.parts['name']}, or name another as priorityClassName in "
            "the template (pod=)"
        ),
    ),
    # plugin/pkg/admission/runtimeclass/admission.go
    _frame(
        r'pod rejected: RuntimeClass "(?P<name>[^"]*)" not found',
        "RuntimeClass",
        lambda said: (
            f"create RuntimeClass {said.parts['name']}, or name another as runtimeClassName in the "
            "template (pod=)"
        ),
    ),
    # plugin/pkg/admission/podnodeselector/admission.go
    _frame(
        r"pod node label selector ",
        "PodNodeSelector",
        "change node_selector to agree with the namespace's annotation "
        "scheduler.alpha.kubernetes.io/node-selector",
    ),
    # plugin/pkg/admission/podtolerationrestriction/admission.go
    _frame(
        r"pod tolerations \(possibly merged with namespace default tolerations\) conflict ",
        "PodTolerationRestriction",
        "change tolerations to agree with the namespace's annotation "
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist",
    ),
    # plugin/pkg/admission/imagepolicy/admission.go
    _frame(
        r"(?:image policy webhook backend denied one or more images|one or more images rejected by "
        r"webhook backend)",
        "ImagePolicyWebhook",
        "use an image that the cluster's image policy allows",
    ),
    # plugin/pkg/admission/gc/gc_admission.go: a right is missing, but not on this object
    _frame(
        r"cannot set (?:an ownerRef on a resource you can't delete|blockOwnerDeletion )",
        "OwnerReferencesPermissionEnforcement",
        APPLY,
        Forbidden,
    ),
    # pkg/admission/plugin/namespace/lifecycle/admission.go and others: caches are read at the start
    _frame(r"not yet ready to handle request", "NamespaceLifecycle", _SERVING, ServerError),
    # ... as _ends, for an answer without its causes
    _frame(
        r"unable to create new content in namespace \S+ because it is being terminated",
        "NamespaceLifecycle",
        lambda said: _ending(said.namespace),
    ),
)

_UNFRAMED = (
    # pkg/admission/plugin/resourcequota/controller.go returns it as it is, and so it is a 500
    _frame(
        r"insufficient quota to match these scopes: ",
        _QUOTA,
        "create a ResourceQuota with that scope, or use another PriorityClass (pod=)",
    ),
)
