"""The Pods of a benchmark, and what is written to them. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from podfleet.exposure import ClusterView, ExposureStrategy
from podfleet.fleet.claiming.claim import UNTRACKED, Claim, transition
from podfleet.fleet.spec import FleetSpec
from podfleet.model import Endpoint, GameServerTemplate, Manifest
from podfleet.model.manifest import name_of
from podfleet.model.names import ALLOCATED_AT, CLAIM, FLEET, PREFIX, SESSION, new_server_name
from podfleet.model.server import ClaimState

__all__ = ["MARK", "Unexposed", "freed", "made", "plain_patch"]

MARK = f"{PREFIX}bench"
"""A label of all Pods of a benchmark; its value is the fleet's name."""

_LASTS = 3600  # seconds: if the benchmark is killed, the kubelet ends what it left


class Unexposed(ExposureStrategy):
    """Nobody dials the servers of a benchmark: they take no port, no Service and no route."""

    def endpoints(
        self, pod: Manifest, template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...]:
        """Return the Pod's name with each port: a server needs an endpoint for every one."""
        return tuple(
            Endpoint(name_of(pod), port.number, port.protocol, port.name) for port in template.ports
        )


def made(spec: FleetSpec, namespace: str, *, plain: bool) -> dict[str, Any]:
    """Return the manifest of a Pod.

    Args:
        spec: The benchmark's fleet.
        namespace: The namespace.
        plain: Whether it is to be as a server, but of no fleet: to be patched.
    """
    pod = spec.pod(namespace, new_server_name(spec.name), ())
    pod["metadata"]["labels"][MARK] = spec.name
    if plain:
        del pod["metadata"]["labels"][FLEET]
    pod["spec"]["activeDeadlineSeconds"] = _LASTS
    return pod


def plain_patch(name: str, now: datetime) -> list[dict[str, Any]]:
    """Return a JSON patch of the size of a claim's, without a ``test``.

    Args:
        name: The Pod's name.
        now: The time.
    """
    seen = {"metadata": {"name": name, "uid": "", "labels": {}, "annotations": {}}, "spec": {}}
    operations = Claim().patch(seen, now)
    return [one for one in operations if one["op"] == "add" and one is not UNTRACKED]


def freed(pod: Manifest) -> list[dict[str, Any]]:
    """Return the JSON patch that makes an allocated server, which nobody used, free again."""
    gone = dict.fromkeys((SESSION, CLAIM, ALLOCATED_AT))
    return transition(pod, ClaimState.UNCLAIMED, labels={SESSION: None}, annotations=gone)
