"""`Node`: the shape of a Node of the embedded cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.local.objects.checks import label_faults
from podfleet.model.names import check_node_labels
from podfleet.model.plain import check_flag, check_text, each, plain_mapping
from podfleet.model.quantity import parse_quantity
from podfleet.model.workload import check_replicas

__all__ = ["Node"]


def _labels(value: Mapping[str, str]) -> Mapping[str, str]:
    labels = plain_mapping("Node.labels", value, "{'pool': 'matches'}")
    return check_node_labels("Node.labels", labels)


def _taints(value: Iterable[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    like = "{'key': 'gpu', 'value': 'yes', 'effect': 'NoSchedule'}"
    given = each("Node.taints", value, f"[{like}]")
    taints = [plain_mapping(f"Node.taints[{at}]", one, like) for at, one in enumerate(given)]
    for at, taint in enumerate(taints):
        for key in ("key", "effect"):
            check_text(f"Node.taints[{at}].{key}", taint.get(key))
    return tuple(taints)


@frozen(kw_only=True)
class Node:
    """A Node, as k3s, kind or a cloud would show it.

    Args:
        name: Its name.
        external: Whether players can dial its address: then it is shown as an ExternalIP too,
            as a cloud does it.
        labels: Its labels, besides its hostname's.
        taints: ``{"key": "gpu", "value": "yes", "effect": "NoSchedule"}``.
        cpu: How much it has: ``"8"``.
        memory: How much it has: ``"32Gi"``.
        pods: How many Pods it takes.

    Raises:
        ConfigurationError: A name, label, taint or quantity that cannot be.

    Example:
        >>> Node(name="node-b", external=False).pods
        2000
    """

    name: str = field(default="local")
    external: bool = field(default=True)
    labels: Mapping[str, str] = field(factory=dict, converter=_labels)
    taints: tuple[Mapping[str, str], ...] = field(default=(), converter=_taints)
    cpu: str = field(default="64")
    memory: str = field(default="256Gi")
    pods: int = field(default=2000)

    @name.validator
    def _check_name(self, _: Attribute[str], value: str) -> None:
        for fault in label_faults(check_text("Node.name", value)):
            raise ConfigurationError("Node.name", value, fault)

    @external.validator
    def _check_external(self, _: Attribute[Any], value: object) -> None:
        check_flag("Node.external", value)

    @cpu.validator
    def _check_cpu(self, _: Attribute[Any], value: object) -> None:
        parse_quantity("Node.cpu", value)

    @memory.validator
    def _check_memory(self, _: Attribute[Any], value: object) -> None:
        parse_quantity("Node.memory", value)

    @pods.validator
    def _check_pods(self, _: Attribute[Any], value: int) -> None:
        check_replicas("Node.pods", value)

    def manifest(self, address: str, ready: dict[str, Any]) -> dict[str, Any]:
        """Return the object.

        Args:
            address: The Node's.
            ready: Its condition.
        """
        addresses = [{"type": "InternalIP", "address": address}]
        if self.external:
            addresses.append({"type": "ExternalIP", "address": address})
        addresses.append({"type": "Hostname", "address": self.name})
        capacity = {"cpu": str(self.cpu), "memory": str(self.memory), "pods": str(self.pods)}
        own = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
        }
        return {
            "metadata": {"name": self.name, "labels": {**own, **self.labels}},
            "spec": {"taints": [dict(one) for one in self.taints]} if self.taints else {},
            "status": {
                "addresses": addresses,
                "capacity": capacity,
                "allocatable": capacity,
                "conditions": [ready],
                "nodeInfo": {
                    "kubeletVersion": "v1.37.2+podfleet",
                    "containerRuntimeVersion": "podfleet://processes",
                    "operatingSystem": "linux",
                    "architecture": "amd64",
                    "osImage": "this machine",
                    "kernelVersion": "",
                    "kubeProxyVersion": "",
                    "machineID": "",
                    "systemUUID": "",
                    "bootID": "",
                },
            },
        }
