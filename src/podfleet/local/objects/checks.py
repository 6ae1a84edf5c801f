"""What the API server does not take: the checks that game servers run into. Pure.

From Kubernetes' pkg/apis/core/validation/validation.go and k8s.io/apimachinery's
pkg/api/validation/objectmeta.go and pkg/util/validation/validation.go. Not every check of the real
server is here: what it would refuse may be taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

from podfleet.local.objects.kinds import Kind
from podfleet.local.objects.statuses import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)
from podfleet.model import Manifest

__all__ = ["changed", "made"]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_VALUE = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"

_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    f"for validation is '{_LABEL}(\\.{_LABEL})*')"
)
_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    f"for validation is '{_LABEL}')"
)
_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  "
    f"or '12345', regex used for validation is '{_VALUE}')"
)
_KEY_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    f"validation is '{_QUALIFIED}')"
)

_POLICIES = ("Always", "OnFailure", "Never")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_LABEL_NAMES = ("namespaces", "services")
_UPDATABLE_OF_A_SET = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_UPDATABLE_OF_A_POD = (
    "`spec.containers[*].image`",
    "`spec.initContainers[*].image`",
    "`spec.activeDeadlineSeconds`",
    "`spec.tolerations` (only additions to existing tolerations)",
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
)


def made(kind: Kind, wanted: Manifest) -> list[FieldError]:
    """Return what is wrong with an object, its defaults filled in."""
    return [*_metadata(kind, wanted["metadata"]), *_CHECKS.get(kind.plural, _nothing)(wanted)]


def changed(kind: Kind, before: Manifest, after: Manifest) -> list[FieldError]:
    """Return what is wrong with an object that takes another's place."""
    found = made(kind, after)
    if kind.plural == "pods":
        found += _changed_pod(before["spec"], after["spec"])
    elif kind.plural == "statefulsets":
        found += _changed_set(before["spec"], after["spec"])
    elif kind.plural == "services":
        found += _changed_service(before["spec"], after["spec"])
    return found


def _nothing(_: Manifest) -> list[FieldError]:
    return []


def _metadata(kind: Kind, metadata: Manifest) -> Iterator[FieldError]:
    name = metadata.get("name") or ""
    where = "metadata.name"
    if not name:
        yield required("metadata.name", "name or generateName is required")
        return
    if kind.group == "rbac.authorization.k8s.io":
        if name in (".", "..") or "/" in name or "%" in name:
            yield invalid_value(where, name, "may not contain '/' or '%'")
    elif kind.plural in _LABEL_NAMES:
        yield from (invalid_value(where, name, why) for why in label_faults(name))
    else:
        yield from (invalid_value(where, name, why) for why in _subdomain_faults(name))
    for key, value in (metadata.get("labels") or {}).items():
        yield from _label(key, value)
    for key in metadata.get("annotations") or {}:
        if not _is_key(key.lower()):
            yield invalid_value("metadata.annotations", key.lower(), _KEY_WORDS)
    for number, owner in enumerate(metadata.get("ownerReferences") or []):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                at = f"metadata.ownerReferences[{number}].{field}"
                yield invalid_value(at, owner.get(field, ""), _OWNER[field])


_OWNER = {
    "apiVersion": "version must not be empty",
    "kind": "must not be empty",
    "name": "must not be empty",
    "uid": "must not be empty",
}


def _label(key: str, value: object) -> Iterator[FieldError]:
    if not _is_key(key):
        yield invalid_value("metadata.labels", key, _KEY_WORDS)
    text = str(value)
    if len(text) > 63:
        yield invalid_value("metadata.labels", text, "must be no more than 63 bytes")
    if not re.fullmatch(_VALUE, text):
        yield invalid_value("metadata.labels", text, _VALUE_WORDS)


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and (not re.fullmatch(_SUBDOMAIN, prefix) or len(prefix) > 253):
        return False
    return len(name) <= 63 and re.fullmatch(_QUALIFIED, name) is not None


def _subdomain_faults(name: str) -> Iterator[str]:
    if len(name) > 253:
        yield "must be no more than 253 characters"
    if not re.fullmatch(_SUBDOMAIN, name):
        yield _SUBDOMAIN_WORDS


def label_faults(name: str) -> Iterator[str]:
    """Yield why a name is no DNS label."""
    if len(name) > 63:
        yield "must be no more than 63 characters"
    if not re.fullmatch(_LABEL, name):
        yield "must not contain dots" if re.fullmatch(_SUBDOMAIN, name) else _LABEL_WORDS


def _pod(pod: Manifest) -> list[FieldError]:
    return list(_pod_spec(pod["spec"], "spec"))


def _pod_spec(
    spec: Manifest, at: str, policies: tuple[str, ...] = _POLICIES
) -> Iterator[FieldError]:
    containers = spec.get("containers") or []
    if not containers:
        yield required(f"{at}.containers")
    names: set[str] = set()
    for listed in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(listed) or []):
            where = f"{at}.{listed}[{number}]"
            yield from _container(container, where)
            name = container.get("name")
            if name and name in names:
                yield duplicate(f"{where}.name", name)
            names.add(name or "")
    yield from _duplicate_host_ports(containers, at)
    if spec["restartPolicy"] not in policies:
        yield unsupported(f"{at}.restartPolicy", spec["restartPolicy"], policies)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 2**31:
        yield invalid_value(
            f"{at}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"
        )
    for field in ("hostname", "subdomain"):
        if spec.get(field):
            yield from (
                invalid_value(f"{at}.{field}", spec[field], why)
                for why in label_faults(spec[field])
            )


def _container(container: Mapping[str, Any], at: str) -> Iterator[FieldError]:
    if not container.get("name"):
        yield required(f"{at}.name")
    else:
        yield from (
            invalid_value(f"{at}.name", container["name"], why)
            for why in label_faults(container["name"])
        )
    if not container.get("image"):
        yield required(f"{at}.image")
    elif container["image"] != container["image"].strip():
        yield invalid_value(
            f"{at}.image", container["image"], "must not have leading or trailing whitespace"
        )
    for number, port in enumerate(container.get("ports") or []):
        where = f"{at}.ports[{number}]"
        if not port.get("containerPort"):
            yield required(f"{where}.containerPort")
        for field in ("containerPort", "hostPort"):
            if port.get(field) and not 1 <= port[field] <= 65535:
                words = "must be between 1 and 65535, inclusive"
                yield invalid_value(f"{where}.{field}", port[field], words)
        if port["protocol"] not in _PROTOCOLS:
            yield unsupported(f"{where}.protocol", port["protocol"], _PROTOCOLS)
    for number, env in enumerate(container.get("env") or []):
        if not env.get("name"):
            yield required(f"{at}.env[{number}].name")


def _duplicate_host_ports(containers: list[Any], at: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for number, container in enumerate(containers):
        for place, port in enumerate(container.get("ports") or []):
            if port.get("hostPort"):
                used = f"{port.get('hostIP') or ''}/{port['hostPort']}/{port['protocol']}"
                if used in seen:
                    where = f"{at}.containers[{number}].ports[{place}].hostPort"
                    yield duplicate(where, f"{port['protocol']}//{port['hostPort']}")
                seen.add(used)


def _service(service: Manifest) -> list[FieldError]:
    return list(_service_spec(service["spec"]))


def _service_spec(spec: Manifest) -> Iterator[FieldError]:
    ports = spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    types = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec["type"] not in types:
        yield unsupported("spec.type", spec["type"], types)
    if not ports and not headless and spec["type"] != "ExternalName":
        yield required("spec.ports")
    address = spec.get("clusterIP")
    if address and not headless and not _is_ipv4(address):
        words = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        yield invalid_value("spec.clusterIPs[0]", address, words)
    if headless and spec["type"] in ("NodePort", "LoadBalancer"):
        yield invalid_value(
            "spec.clusterIPs[0]", "None", f"may not be set to 'None' for {spec['type']} services"
        )
    seen: set[tuple[object, object]] = set()
    names: set[str] = set()
    for number, port in enumerate(ports):
        at = f"spec.ports[{number}]"
        name = port.get("name", "")
        if len(ports) > 1 and not name:
            yield required(f"{at}.name")
        if name and name in names:
            yield duplicate(f"{at}.name", name)
        names.add(name)
        for field in ("port", "targetPort"):
            number = port.get(field, 0)
            if isinstance(number, int) and not 1 <= number <= 65535:
                words = "must be between 1 and 65535, inclusive"
                yield invalid_value(f"{at}.{field}", number, words)
        if port["protocol"] not in _PROTOCOLS:
            yield unsupported(f"{at}.protocol", port["protocol"], _PROTOCOLS)
        if port.get("nodePort") and spec["type"] == "ClusterIP":
            words = "may not be used when `type` is 'ClusterIP'"
            yield forbidden_field(f"{at}.nodePort", words)
        key = (port.get("port"), port["protocol"])
        if key in seen:
            yield duplicate(at, {"port": port["port"], "protocol": port["protocol"]})
            if spec["type"] in ("NodePort", "LoadBalancer"):  # they would have one number
                yield duplicate(f"{at}.nodePort", port.get("nodePort", 0))
        seen.add(key)


def _is_ipv4(address: str) -> bool:
    try:
        IPv4Address(address)
    except ValueError:
        return False
    return True


def _stateful_set(wanted: Manifest) -> list[FieldError]:
    return list(_set_spec(wanted["spec"]))


def _set_spec(spec: Manifest) -> Iterator[FieldError]:
    selector = spec.get("selector") or {}
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if spec["replicas"] < 0:
        words = "must be greater than or equal to 0"
        yield invalid_value("spec.replicas", spec["replicas"], words)
    if not selector:
        yield required("spec.selector")
    elif any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        words = "`selector` does not match template `labels`"
        yield invalid_value("spec.template.metadata.labels", labels, words)
    yield from _pod_spec(template.get("spec") or {"restartPolicy": "Always"}, "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy in ("Never", "OnFailure"):
        yield unsupported("spec.template.spec.restartPolicy", policy, ("Always",))


def _changed_pod(before: Manifest, after: Manifest) -> Iterator[FieldError]:
    then, now = before.get("activeDeadlineSeconds"), after.get("activeDeadlineSeconds")
    where = "spec.activeDeadlineSeconds"
    if then is not None and now is None:
        yield invalid_value(where, None, "must not update from a positive integer to nil value")
    elif then is not None and now is not None and now > then:
        yield invalid_value(where, now, "must be less than or equal to previous value")
    fixed = [_immutable(spec) for spec in (before, after)]
    known = before.get("tolerations") or []
    kept = all(one in (after.get("tolerations") or []) for one in known)
    if fixed[0] != fixed[1] or not kept:
        listed = ",".join(_UPDATABLE_OF_A_POD)
        yield forbidden_field("spec", f"pod updates may not change fields other than {listed}")


def _immutable(spec: Manifest) -> dict[str, Any]:
    """Return what of a Pod's spec stays as it is."""
    updatable = ("activeDeadlineSeconds", "tolerations")
    kept = {key: value for key, value in spec.items() if key not in updatable}
    for listed in ("containers", "initContainers"):
        kept[listed] = [{**one, "image": ""} for one in spec.get(listed) or []]
    return kept


def _changed_set(before: Manifest, after: Manifest) -> Iterator[FieldError]:
    fields = (before.keys() | after.keys()) - set(_UPDATABLE_OF_A_SET)
    if any(before.get(field) != after.get(field) for field in fields):
        listed = ", ".join(f"'{field}'" for field in _UPDATABLE_OF_A_SET[:-1])
        words = (
            f"updates to statefulset spec for fields other than {listed} and "
            f"'{_UPDATABLE_OF_A_SET[-1]}' are forbidden"
        )
        yield forbidden_field("spec", words)


def _changed_service(before: Manifest, after: Manifest) -> Iterator[FieldError]:
    if before.get("clusterIP") and before.get("clusterIP") != after.get("clusterIP"):
        given = [after["clusterIP"]] if after.get("clusterIP") else []
        yield invalid_value("spec.clusterIPs[0]", given, "may not change once set")


_CHECKS: dict[str, Callable[[Manifest], list[FieldError]]] = {
    "pods": _pod,
    "services": _service,
    "statefulsets": _stateful_set,
}
