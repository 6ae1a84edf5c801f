"""The admission checks that refuse game servers: accounts, quotas, Pod security. Pure.

From Kubernetes' plugin/pkg/admission/serviceaccount, pkg/quota and k8s.io/pod-security-admission.
"""

from __future__ import annotations

from collections.abc import Mapping

from podfleet.local.objects.kinds import (
    NAMESPACE,
    POD,
    QUOTA,
    SERVICE_ACCOUNT,
    Kind,
)
from podfleet.local.objects.statuses import forbidden, not_found
from podfleet.local.objects.store import Store
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of, namespace_of

__all__ = ["admit", "check_namespace", "usage"]

_ENFORCE = "pod-security.kubernetes.io/enforce"


def admit(store: Store, kind: Kind, wanted: Manifest) -> None:
    """Let a new object pass.

    Raises:
        Refusal: It may not be made, for the policy of its namespace.
    """
    if kind == POD:
        _account(store, wanted)
        _security(store, wanted)
    if kind.namespaced:
        _quota(store, kind, wanted)


def check_namespace(store: Store, kind: Kind, namespace: str, name: str) -> None:
    """Let a new object pass whose namespace is there, and stays.

    Raises:
        Refusal: It is not there, or is being deleted.
    """
    if not kind.namespaced:
        return
    found = store.get(NAMESPACE, ("", namespace))
    if found is None:
        raise not_found(NAMESPACE, namespace)
    if found["metadata"].get("deletionTimestamp"):
        why = (
            f"unable to create new content in namespace {namespace} because it is being terminated"
        )
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        raise forbidden(kind, name, why, [cause])


def _account(store: Store, pod: Manifest) -> None:
    namespace, account = namespace_of(pod), pod["spec"]["serviceAccountName"]
    if store.get(SERVICE_ACCOUNT, (namespace, account)) is None:
        why = (
            f"error looking up service account {namespace}/{account}: "
            f'serviceaccount "{account}" not found'
        )
        raise forbidden(POD, name_of(pod), why)


def _security(store: Store, pod: Manifest) -> None:
    namespace = store.get(NAMESPACE, ("", namespace_of(pod)))
    level = labels_of(namespace).get(_ENFORCE, "privileged") if namespace else "privileged"
    if level == "privileged":
        return
    spec, reasons = pod["spec"], []
    if spec.get("hostNetwork"):
        reasons.append("host namespaces (hostNetwork=true)")
    for container in spec["containers"]:
        numbers = [one["hostPort"] for one in container.get("ports") or [] if one.get("hostPort")]
        if numbers:
            ports = ", ".join(map(str, numbers))
            word = "hostPort" if len(numbers) == 1 else "hostPorts"
            reasons.append(f'hostPort (container "{container["name"]}" uses {word} {ports})')
    if reasons:
        why = f'violates PodSecurity "{level}:latest": {", ".join(reasons)}'
        raise forbidden(POD, name_of(pod), why)


def _quota(store: Store, kind: Kind, wanted: Manifest) -> None:
    namespace = namespace_of(wanted)
    for quota in store.all(QUOTA, namespace):
        hard = quota["spec"].get("hard") or {}
        used = usage(store, namespace, hard)
        for name in sorted({kind.plural, f"count/{kind.resource}"} & hard.keys()):
            if used[name] + 1 > int(hard[name]):
                why = (
                    f"exceeded quota: {name_of(quota)}, requested: {name}=1, "
                    f"used: {name}={used[name]}, limited: {name}={hard[name]}"
                )
                raise forbidden(kind, name_of(wanted), why)


def usage(store: Store, namespace: str, hard: Mapping[str, str]) -> dict[str, int]:
    """Return how many objects there are of each kind that a quota counts."""
    counted = {}
    for name in hard:
        plural = name.removeprefix("count/")
        kinds = [kind for kind in store.kinds() if plural in (kind.plural, kind.resource)]
        counted[name] = sum(
            shown.get("status", {}).get("phase") not in ("Succeeded", "Failed")
            for kind in kinds
            for shown in store.all(kind, namespace)
        )
    return counted
