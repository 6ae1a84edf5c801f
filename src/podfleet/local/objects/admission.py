"""The admission checks that refuse game servers: accounts, quotas, Pod security. Pure.

From Kubernetes' plugin/pkg/admission/serviceaccount, pkg/quota and k8s.io/pod-security-admission.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from podfleet.errors import ConfigurationError
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
from podfleet.model.quantity import parse_quantity

__all__ = ["admit", "check_namespace"]

_ENFORCE = "pod-security.kubernetes.io/enforce"

_COUNTED = {
    name: (section, resource)
    for section in ("requests", "limits")
    for resource in ("cpu", "memory")
    for name in (f"{section}.{resource}", *((resource,) if section == "requests" else ()))
}
"""What quotas count of each container, and where it says it."""


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
    quotas = [(one, one["spec"].get("hard") or {}) for one in store.all(QUOTA, namespace)]
    if not quotas:
        return
    if kind == POD:
        for quota, hard in quotas:
            _constraints(wanted, name_of(quota), hard)
    requested = _usage_of(kind, wanted)
    for quota, hard in quotas:
        used = {name: Decimal(0) for name in requested.keys() & hard.keys()}
        for shown in store.all(kind, namespace):
            if shown.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                usage = _usage_of(kind, shown)
                used = {name: amount + usage[name] for name, amount in used.items()}
        exceeded = sorted(
            name
            for name, amount in used.items()
            if requested[name] and amount + requested[name] > _parsed(hard[name])
        )
        if exceeded:
            asked = ",".join(f"{name}={_written(name, requested[name])}" for name in exceeded)
            taken = ",".join(f"{name}={_written(name, used[name])}" for name in exceeded)
            limits = ",".join(f"{name}={hard[name]}" for name in exceeded)
            why = (
                f"exceeded quota: {name_of(quota)}, requested: {asked}, used: {taken}, "
                f"limited: {limits}"
            )
            raise forbidden(kind, name_of(wanted), why)


def _constraints(pod: Manifest, quota: str, hard: Mapping[str, str]) -> None:
    """Let a Pod pass whose containers set all that a quota counts.

    From Kubernetes' pkg/quota/v1/evaluator/core/pods.go: Constraints.
    """
    missing: dict[str, list[str]] = {}
    spec = pod["spec"]
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        for name in hard.keys() & _COUNTED.keys():
            section, resource = _COUNTED[name]
            if resource not in ((container.get("resources") or {}).get(section) or {}):
                missing.setdefault(name, []).append(container["name"])
    if missing:
        listed = "; ".join(
            f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing)
        )
        raise forbidden(POD, name_of(pod), f"failed quota: {quota}: must specify {listed}")


def _usage_of(kind: Kind, shown: Manifest) -> dict[str, Decimal]:
    """Return what an object uses of each thing that a quota can count."""
    usage = {kind.plural: Decimal(1), f"count/{kind.resource}": Decimal(1)}
    if kind == POD:
        spec = shown["spec"]
        for name, (section, resource) in _COUNTED.items():
            together = sum(
                (_asked(one, section, resource) for one in spec["containers"]), Decimal(0)
            )
            before = [_asked(one, section, resource) for one in spec.get("initContainers") or []]
            usage[name] = max([together, *before])
    return usage


def _asked(container: Manifest, section: str, resource: str) -> Decimal:
    listed = (container.get("resources") or {}).get(section) or {}
    return _parsed(listed.get(resource, 0))


def _parsed(quantity: object) -> Decimal:
    try:
        return parse_quantity("quantity", quantity)
    except ConfigurationError:
        return Decimal(0)


def _written(name: str, amount: Decimal) -> str:
    """Return a quantity as the API server writes it."""
    if amount != amount.to_integral_value():
        return f"{int(amount * 1000)}m"
    whole = int(amount)
    if name.endswith("memory"):
        for suffix, power in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
            if whole and whole % 2**power == 0:
                return f"{whole >> power}{suffix}"
    return str(whole)
