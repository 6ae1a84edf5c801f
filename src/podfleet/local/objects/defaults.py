"""What the API server writes into an object where its author left it out. Pure.

From Kubernetes' pkg/apis/core/v1/defaults.go, pkg/apis/apps/v1/defaults.go, and the admission
plugins ServiceAccount and DefaultTolerationSeconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podfleet.local.objects.kinds import Kind

__all__ = ["fill", "initial_status"]

_PATIENCE = 300  # seconds that a Pod stays on a Node that is lost
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def fill(kind: Kind, wanted: dict[str, Any]) -> None:
    """Write the defaults of its kind into an object that is the caller's own."""
    filler = _FILLERS.get(kind.plural)
    if filler is not None:
        filler(wanted)


def initial_status(kind: Kind, wanted: dict[str, Any]) -> None:
    """Give a new object the status that it has before anybody looked at it."""
    if not kind.status or kind.plural == "nodes":
        return
    wanted.pop("status", None)
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "pods": lambda: {"phase": "Pending", "qosClass": _quality(wanted["spec"])},
        "namespaces": lambda: {"phase": "Active"},
        "services": lambda: {"loadBalancer": {}},
        "ingresses": lambda: {"loadBalancer": {}},
        "statefulsets": lambda: {"replicas": 0, "availableReplicas": 0},
        "resourcequotas": dict,
    }
    wanted["status"] = made[kind.plural]()


def _pod(pod: dict[str, Any]) -> None:
    spec = pod.setdefault("spec", {})
    _pod_spec(spec)
    spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = spec["serviceAccountName"]
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    for taint in _TAINTS:
        if not any(one.get("key") in (taint, None) for one in tolerations):
            tolerations.append(
                {
                    "key": taint,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": _PATIENCE,
                }
            )


def _pod_spec(spec: dict[str, Any]) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("enableServiceLinks", True)
    for container in _containers(spec):
        _container(container, host_network=bool(spec.get("hostNetwork")))


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    both = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return [one for one in both if isinstance(one, dict)]


def _container(container: dict[str, Any], *, host_network: bool) -> None:
    image = str(container.get("image", ""))
    latest = image.endswith(":latest") or ":" not in image.rpartition("/")[2]
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.setdefault("resources", {})
    for name, value in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, value)
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
        if host_network and "containerPort" in port:
            port.setdefault("hostPort", port["containerPort"])
    for env in container.get("env") or []:
        reference = (env.get("valueFrom") or {}).get("fieldRef")
        if reference:
            reference.setdefault("apiVersion", "v1")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe):
            _probe(container[probe])


def _probe(probe: dict[str, Any]) -> None:
    defaults = {
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    for name, value in defaults.items():
        probe.setdefault(name, value)
    if probe.get("httpGet"):
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _quality(spec: dict[str, Any]) -> str:
    resources = [one.get("resources") or {} for one in _containers(spec)]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    for one in resources:
        limits, requests = one.get("limits") or {}, one.get("requests") or {}
        if not {"cpu", "memory"} <= limits.keys() or requests != limits:
            return "Burstable"
    return "Guaranteed"


def _service(service: dict[str, Any]) -> None:
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def _stateful_set(wanted: dict[str, Any]) -> None:
    spec = wanted.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault(
        "persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"}
    )
    strategy = spec.setdefault("updateStrategy", {"type": "RollingUpdate"})
    if strategy.get("type") == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    template = spec.get("template")
    if isinstance(template, dict):
        _pod_spec(template.setdefault("spec", {}))


def _namespace(namespace: dict[str, Any]) -> None:
    spec = namespace.setdefault("spec", {})
    spec.setdefault("finalizers", ["kubernetes"])
    labels = namespace["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = namespace["metadata"].get("name", "")


def _secret(secret: dict[str, Any]) -> None:
    secret.setdefault("type", "Opaque")


def _binding(binding: dict[str, Any]) -> None:
    for subject in binding.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


_FILLERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "pods": _pod,
    "services": _service,
    "statefulsets": _stateful_set,
    "namespaces": _namespace,
    "secrets": _secret,
    "rolebindings": _binding,
    "clusterrolebindings": _binding,
}
