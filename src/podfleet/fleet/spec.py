"""`FleetSpec`: what a fleet was asked to be, checked at once; and its Pods. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, get_args

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.exposure import ExposureStrategy, Resource
from podfleet.fleet.claiming.disruption import of_new
from podfleet.fleet.pool.packing import Packing, Selector, matches
from podfleet.fleet.pool.ranking import Value
from podfleet.kube import Cluster
from podfleet.manifests import fleet_rules, reading_rules
from podfleet.model import GameServerTemplate, names
from podfleet.model.container import container_name
from podfleet.model.names import check_fleet_name, check_namespace
from podfleet.model.rollout import Rollout
from podfleet.model.rules import Rule
from podfleet.model.server import ClaimState
from podfleet.model.workload import StatefulSet
from podfleet.scaling import Policy, ScalingPolicy, as_policy

__all__ = ["FleetSpec"]


@frozen(kw_only=True)
class FleetSpec:
    """What a fleet was asked to be.

    Args:
        name: The fleet's name.
        template: What its servers are made of.
        exposure: How clients reach them.
        workload: The StatefulSet whose Pods they are; by default Pods made one by one.
        namespace: Where they live; by default the connection's namespace.
        cluster: Which cluster.
        probe: Dial a server before handing it out; see `AsyncFleet`.
        ready: How many free servers are kept: a number, or a policy; ``None`` to leave that to
            other replicas.
        packing: Which free server goes first; see `Pool`, or `Ranking`.
        rollout: How free servers of a former template are replaced.
    """

    name: str = field()
    template: GameServerTemplate = field()
    exposure: ExposureStrategy = field()
    workload: StatefulSet | None = field(default=None)
    namespace: str | None = field(default=None)
    cluster: Cluster = field(factory=Cluster)
    probe: bool | bytes = field(default=False)
    ready: Policy | None = field(default=None)
    packing: Packing | Value = field(default="packed")
    rollout: Rollout = field(factory=Rollout)

    @name.validator
    def _check_name(self, _: Attribute[str], value: str) -> None:
        check_fleet_name("Fleet.name", value)

    @template.validator
    def _check_template(self, _: Attribute[Any], value: object) -> None:
        if not isinstance(value, GameServerTemplate):
            raise ConfigurationError("Fleet.template", value, "must be a GameServerTemplate")

    @exposure.validator
    def _check_exposure(self, _: Attribute[Any], value: object) -> None:
        if not isinstance(value, ExposureStrategy):
            raise ConfigurationError("Fleet.exposure", value, "must be an ExposureStrategy")
        value.check(self.template)

    @workload.validator
    def _check_workload(self, _: Attribute[Any], value: object) -> None:
        if value is None:
            return
        if not isinstance(value, StatefulSet):
            raise ConfigurationError("Fleet.workload", value, "must be a StatefulSet or None")
        if self.exposure.ports_needed(self.template):
            raise ConfigurationError(
                "Fleet.exposure",
                self.exposure,
                "the Pods of a StatefulSet are made alike, and cannot each be given ports of a "
                "pool: use NodePortPerPod without a pool, HeadlessDNS or IstioRoute by host",
            )

    @namespace.validator
    def _check_namespace(self, _: Attribute[Any], value: str | None) -> None:
        if value is not None:
            check_namespace("Fleet.namespace", value)

    @ready.validator
    def _check_ready(self, _: Attribute[Any], value: Policy | None) -> None:
        if value is None:
            return
        as_policy("Fleet.ready", value)
        if self.workload is not None:
            raise ConfigurationError(
                "Fleet.ready", value, "a StatefulSet has replicas: StatefulSet(replicas=...)"
            )

    @packing.validator
    def _check_packing(self, _: Attribute[Any], value: object) -> None:
        if not callable(value) and value not in get_args(Packing):
            known = ", ".join(map(repr, get_args(Packing)))
            raise ConfigurationError(
                "Fleet.packing", value, f"must be {known} or a function from a server to a number"
            )
        if callable(value) and self.template.slots is not None:
            raise ConfigurationError(
                "Fleet.packing", value, "of servers that sessions share the fullest goes first"
            )
        if callable(value) and self.workload is not None:
            raise ConfigurationError(
                "Fleet.packing", value, "a fleet over a StatefulSet takes its lowest free server"
            )

    @rollout.validator
    def _check_rollout(self, _: Attribute[Any], value: object) -> None:
        if not isinstance(value, Rollout):
            raise ConfigurationError("Fleet.rollout", value, "must be a Rollout")

    @cluster.validator
    def _check_cluster(self, _: Attribute[Any], value: object) -> None:
        if not isinstance(value, Cluster):
            raise ConfigurationError("Fleet.cluster", value, "must be a Cluster")

    @probe.validator
    def _check_probe(self, _: Attribute[Any], value: object) -> None:
        if not isinstance(value, bool | bytes):
            raise ConfigurationError(
                "Fleet.probe", value, "must be True, False or bytes that the game server answers"
            )
        ports = self.template.ports
        if value is True and not any("TCP" in port.protocol.transports for port in ports):
            raise ConfigurationError(
                "Fleet.probe",
                value,
                "connects to TCP ports, and the template has none: give bytes that the game "
                "server answers over UDP",
            )

    @cached_property
    def policy(self) -> ScalingPolicy | None:
        """How many free servers this replica keeps; ``None`` if it leaves that to others."""
        return None if self.ready is None else as_policy("Fleet.ready", self.ready)

    @property
    def shared(self) -> tuple[Resource, ...]:
        """The objects that all its servers share."""
        return self.exposure.shared_objects(self.name, self.template)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rights that it needs, and no more."""
        name = None if self.workload is None else self.workload.name or self.name
        own = fleet_rules(name)
        return (*own, *self.exposure.rules(), *reading_rules(self.shared))

    @property
    def selector(self) -> str:
        """The label selector of the fleet's Pods."""
        return f"{names.FLEET}={self.name}"

    def makes_any(self, selectors: Sequence[Selector]) -> bool:
        """Return whether a server that it starts has the labels of one of these."""
        if not all(selectors):
            return True  # any server will do: the template need not be copied for it
        pod = self._unclaimed()
        return any(matches(pod, selector) for selector in selectors)

    @property
    def revision(self) -> str:
        """A hash of the template: Pods of one revision can stand in for each other."""
        shape = json.dumps(self.template.to_pod(), sort_keys=True, default=str)
        return hashlib.sha256(shape.encode()).hexdigest()[:10]

    def pod(
        self, namespace: str, name: str, numbers: tuple[int, ...], patience: float | None = None
    ) -> dict[str, Any]:
        """Return the Pod of a new server, unclaimed, exposed on these numbers of the pool.

        Args:
            namespace: The fleet's namespace.
            name: The server's name.
            numbers: Of the pool.
            patience: Seconds that its starter is going to wait for it; ``None`` for a server
                that is anybody's.
        """
        pod = self._unclaimed()
        metadata = pod["metadata"]
        metadata |= {"name": name, "namespace": namespace}
        metadata["labels"][names.SERVER] = name
        if patience is not None:
            annotations = metadata.get("annotations") or {}
            metadata["annotations"] = {**annotations, names.PATIENCE: f"{patience:.0f}"}
        self.exposure.shape(pod, self.template, numbers)
        return pod

    def stateful_set(self, namespace: str) -> dict[str, Any]:
        """Return the StatefulSet of the fleet, if its servers are the Pods of one."""
        assert self.workload is not None
        pod = self._unclaimed()
        self.exposure.shape(pod, self.template, ())
        spec = pod["spec"]
        # A StatefulSet's Pods are started again, and named by their StatefulSet.
        spec["restartPolicy"] = "Always"
        governing = spec.pop("subdomain", self.name)
        return {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {
                "name": self.workload.name or self.name,
                "namespace": namespace,
                "labels": {names.FLEET: self.name},
            },
            "spec": {
                "serviceName": governing,
                "replicas": self.workload.replicas,
                "podManagementPolicy": "Parallel",
                # A new template must not end the matches that run.
                "updateStrategy": {"type": "OnDelete"},
                "selector": {"matchLabels": {names.FLEET: self.name}},
                "template": {"metadata": pod["metadata"], "spec": spec},
            },
        }

    def _unclaimed(self) -> dict[str, Any]:
        """Return a Pod of the template with the fleet's labels, without a name."""
        pod = self.template.to_pod()
        self.template.tell(pod)
        metadata = pod["metadata"]
        for unwanted in ("name", "namespace", "generateName", "resourceVersion", "uid"):
            metadata.pop(unwanted, None)
        metadata["labels"] = {
            **(metadata.get("labels") or {}),
            names.FLEET: self.name,
            names.STATE: ClaimState.UNCLAIMED.value,
            names.REVISION: self.revision,
        }
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            **of_new(pod),
            # Written down: what a webhook injects may come first in the Pod that is made.
            names.CONTAINER: container_name(pod),
        }
        return pod
