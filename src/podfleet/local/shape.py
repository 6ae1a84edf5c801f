"""`Node`: the shape of a Node of the embedded cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.local.objects.checks import label_faults

__all__ = ["Node"]


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
        ConfigurationError: A name that cannot be.

    Example:
        >>> Node(name="node-b", external=False).pods
        2000
    """

    name: str = field(default="local")
    external: bool = True
    labels: Mapping[str, str] = field(factory=dict)
    taints: tuple[Mapping[str, str], ...] = field(default=(), converter=tuple)
    cpu: str = "64"
    memory: str = "256Gi"
    pods: int = 2000

    @name.validator
    def _check_name(self, _: Attribute[str], value: str) -> None:
        for fault in label_faults(value):
            raise ConfigurationError("Node.name", value, fault)

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
        capacity = {"cpu": self.cpu, "memory": self.memory, "pods": str(self.pods)}
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
