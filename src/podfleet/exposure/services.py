"""A Service of one server alone: what NodePorts, load balancers and routes are made of. Pure."""

from __future__ import annotations

from typing import Any

from podfleet.exposure.strategy import Resource
from podfleet.model import GameServerTemplate, Manifest, names
from podfleet.model.manifest import annotations_of, labels_of, name_of

__all__ = ["numbers_of", "own_service", "write_numbers"]

_POD_NAME = "statefulset.kubernetes.io/pod-name"
"""Label that the StatefulSet controller gives its Pods (kubernetes.io, StatefulSet, Pod Name
Label); a StatefulSet's template cannot hold podfleet's own, which names the Pod."""


def own_service(pod: Manifest, template: GameServerTemplate, spec: dict[str, Any]) -> Resource:
    """Return a Service that selects this Pod alone, with every port of the template.

    It is named after the Pod. A Pod is in it as soon as it has an address, ready or not: the
    fleet hands out only ready ones, and by then the nodes mostly have the route (kube-proxy
    takes up to a second; with ``probe`` the fleet waits for it); and a match that is being ended
    keeps its players for the grace period.

    Args:
        pod: The Pod, of a fleet.
        template: The template, for the ports.
        spec: What else goes into the Service's ``spec``: ``{"type": "LoadBalancer"}``.

    Example:
        >>> from podfleet import Port
        >>> template = GameServerTemplate(image="arena:1", ports=[Port("game", 7777, "TCPUDP")])
        >>> pod = {"metadata": {"name": "arena-1", "labels": {"podfleet.dev/server": "arena-1"}}}
        >>> own_service(pod, template, {"type": "NodePort"}).manifest["spec"]["ports"]
        [{'name': 'game-tcp', 'port': 7777, 'targetPort': 7777, 'protocol': 'TCP'}, \
{'name': 'game-udp', 'port': 7777, 'targetPort': 7777, 'protocol': 'UDP'}]
    """
    labels = labels_of(pod)
    key = names.SERVER if names.SERVER in labels else _POD_NAME
    ports = [
        {"name": name, "port": port.number, "targetPort": port.number, "protocol": transport}
        for port in template.ports
        for transport, name in port.container_names.items()
    ]
    fleet = {names.FLEET: labels[names.FLEET]} if names.FLEET in labels else {}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name_of(pod), "labels": fleet},
        "spec": {
            "selector": {key: name_of(pod)},
            "ports": ports,
            "publishNotReadyAddresses": True,
            "ipFamilyPolicy": "PreferDualStack",
            **spec,
        },
    }
    return Resource("services", service)


def write_numbers(pod: dict[str, Any], numbers: tuple[int, ...]) -> None:
    """Write on a Pod which numbers of the pool its Service or route is going to use.

    The Pod comes first, so that it can own the rest: a backend that is killed in between
    leaves the numbers on record for every replica, and for whoever adopts the Pod.
    """
    if numbers:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[names.PORTS] = ",".join(map(str, numbers))


def numbers_of(pod: Manifest) -> tuple[int, ...]:
    """Return the numbers that `write_numbers` wrote; none if there are none, or nonsense.

    Example:
        >>> numbers_of({"metadata": {"annotations": {"podfleet.dev/ports": "31004,31005"}}})
        (31004, 31005)
    """
    listed = annotations_of(pod).get(names.PORTS, "").split(",")
    return tuple(int(number) for number in listed if number.isdecimal())
