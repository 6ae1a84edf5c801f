"""`Rehearsal`: everything that a fleet writes, sent as a dry run, so that every check judges it.

A dry run passes every admission check that the write itself would pass, and is not stored. So what
it is refused for, ``allocate`` would be refused for too, and only what it accepted is known to be
accepted. Two writes cannot be tried: a delete (a proxy that ignores ``dryRun`` would carry it out),
and the claim of a Pod while the fleet has none.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from podfleet.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ServerError,
    Throttled,
    Unauthorized,
)
from podfleet.exposure import Resource
from podfleet.fleet.claiming.claim import Candidate, Claim, has_room
from podfleet.fleet.claiming.registration import lease
from podfleet.fleet.gate import Gate
from podfleet.fleet.sets.denial import denial_of, has_all
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import Guard, KubeClient
from podfleet.kube.paths import leases, member, object_path, pods, pointer
from podfleet.manifests import labelled
from podfleet.model import Finding, Manifest
from podfleet.model.manifest import annotations_of, name_of, uid_of
from podfleet.model.names import FLEET, OPERATION, STATE, new_server_name
from podfleet.model.server import ClaimState

__all__ = ["Lack", "Rehearsal", "Right", "judged"]

Right = tuple[str, str, str, str]
"""An API group, a resource, a verb, and a namespace."""

_LABEL = pointer("metadata", "labels", FLEET)
_LEASES = ("coordination.k8s.io", "leases")
_LOOKED_AT = "5"  # Pods, of which one may be ending
_NEVER = 1  # as a nodePort
_PATIENCE = 60.0  # seconds, as an allocation notes it on its Pod
_SESSION = "podfleet-preflight"


@frozen
class Lack:
    """Something that a finding says, unless another says it already.

    Args:
        finding: What is said.
        right: The right that is missing, if that is all: not said where the rights are.
        once: What it has in common with others, of which only the first is said.
    """

    finding: Finding
    right: Right | None = None
    once: tuple[str, str] | None = None


def judged(what: str, error: ApiError, right: Right) -> Lack:
    """Return what a refusal says.

    Args:
        what: What the cluster refuses.
        error: Its answer.
        right: The right that the request needed.

    Raises:
        ApiError: It says nothing about the fleet: the cluster cannot be asked now.
    """
    if isinstance(error, Unauthorized | Throttled) or (
        isinstance(error, ServerError) and not error.plugin
    ):
        raise error
    by_name = (error.plugin, error.refused_by)
    if isinstance(error, Invalid) and error.plugin:  # the webhook takes no part in dry runs
        unsure = f"whether {what.replace('refuses', 'accepts', 1)} is not known"
        return Lack(Finding(unsure, error.said, error.remedy, advice=True), once=by_name)
    passing = error.plugin == "NamespaceLifecycle" or isinstance(error, ServerError)
    return Lack(
        Finding(what, error.said, error.remedy),
        right if type(error) is Forbidden and not error.plugin else None,
        by_name if passing else None,
    )


class Rehearsal:
    """The dry runs of one fleet.

    Args:
        spec: The fleet's.
        client: The transport.
        namespace: The fleet's namespace.
    """

    def __init__(self, spec: FleetSpec, client: KubeClient, namespace: str) -> None:
        self._spec = spec
        self._strategy = spec.exposure
        self._client = client
        self._guard = Guard(client, namespace, (spec.name,))
        self._namespace = namespace

    async def server(self, numbers: Sequence[int], served: Callable[[str], bool]) -> list[Lack]:
        """Try a server that ``allocate`` makes, and its own objects.

        Args:
            numbers: Of the pool.
            served: Whether the cluster serves an API; what it does not serve is not tried.
        """
        name = new_server_name(self._spec.name)
        body = self._spec.pod(self._namespace, name, tuple(numbers), _PATIENCE)
        pod = await self._pod(body)
        return [pod] if isinstance(pod, Lack) else await self._objects(pod, served)

    async def stateful_set(self, served: Callable[[str], bool]) -> list[Lack]:
        """Try a StatefulSet, a Pod of it, and that Pod's own objects.

        The checks of a Pod do not look at the StatefulSet: its controller is refused later.
        """
        body = self._spec.stateful_set(self._namespace)
        set_name = name_of(body)
        body["metadata"]["name"] = new_server_name(self._spec.name)  # the fleet's own may exist
        path = object_path("apps/v1", "statefulsets", self._namespace)
        lacks = await self._try("StatefulSet", path, body, ("apps", "statefulsets"))
        template = body["spec"]["template"]
        wanted: Manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **template["metadata"],
                "name": f"{name_of(body)}-0",
                "namespace": self._namespace,
            },
            "spec": template["spec"],
        }
        pod = await self._pod(wanted)
        if isinstance(pod, Lack):
            if pod.right is None:
                return [*lacks, pod]
            # The fleet needs no right to create Pods: the StatefulSet's controller does.
            lacks += await self._pods_of_the_set(set_name)
            pod = {**wanted, "metadata": {**wanted["metadata"], "uid": str(uuid.uuid4())}}
        return [*lacks, *await self._objects(pod, served)]

    async def shared(self, resource: Resource, wanted: Manifest, what: str) -> list[Lack]:
        """Try to make an object of all servers, which is missing."""
        group = wanted["apiVersion"].rpartition("/")[0]
        path = self._path(resource, wanted)
        try:
            await self._client.try_create(path, _stamped(wanted))
        except AlreadyExists:
            return []  # another replica starts now
        except ApiError as error:
            right = (group, resource.plural, "create", wanted["metadata"]["namespace"])
            lack = judged(f"the cluster refuses {what}", error, right)
            if lack.right is None:
                return [lack]
            return [Lack(Finding(f"no {what}, and no right to make it", error.said, error.remedy))]
        return []

    async def leases(self) -> list[Lack]:
        """Try the Lease of a session, and the fleet's own."""
        path = leases(self._namespace)
        candidate = Candidate(new_server_name(self._spec.name), str(uuid.uuid4()), 0)
        session = lease(self._namespace, self._spec.name, _SESSION, candidate, 1)
        lacks = await self._try("Leases", path, session, _LEASES)
        if self._spec.workload is not None:
            return lacks
        gate = Gate(self._spec.name, self._namespace, self._guard)
        try:
            found = await gate.look()
        except ApiError as error:
            return [*lacks, self._judged("Leases", error, (*_LEASES, "get", self._namespace))]
        if found is not None:
            change = {"op": "add", "path": "/spec/leaseDurationSeconds", "value": 1}
            return [*lacks, *await self._try_patch("Leases", path, found, [change], _LEASES)]
        own = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": gate.lease,
                "namespace": self._namespace,
                "labels": {FLEET: self._spec.name},
            },
            "spec": {"holderIdentity": _SESSION, "leaseDurationSeconds": 1},
        }
        return [*lacks, *await self._try("Leases", path, own, _LEASES)]

    async def claim(self) -> list[Lack]:
        """Try to claim a Pod of the fleet, if it has one that is free."""
        free = f"{self._spec.selector},{STATE}={ClaimState.UNCLAIMED.value}"
        query = {"labelSelector": free, "limit": _LOOKED_AT}
        try:
            listed = (await self._client.get(pods(self._namespace), query))["items"]
        except ApiError as error:
            right = ("", "pods", "list", self._namespace)
            return [judged("the cluster refuses to list this fleet's Pods", error, right)]
        for pod in listed:
            if has_room(pod):
                patch = Claim(session=_SESSION).patch(pod, datetime.now(UTC))
                path = pods(self._namespace)
                return await self._try_patch("claims of Pods", path, pod, patch, ("", "pods"))
        return []

    async def _pod(self, body: Manifest) -> Manifest | Lack:
        try:
            return await self._client.try_create(pods(self._namespace), _stamped(body))
        except ApiError as error:
            what = f"the cluster refuses this fleet's Pods in namespace {self._namespace}"
            return judged(what, error, ("", "pods", "create", self._namespace))

    async def _pods_of_the_set(self, name: str) -> list[Lack]:
        """Return what kept the controller of a StatefulSet from making its Pods."""
        unsure = Lack(
            Finding(
                f"whether the cluster accepts the Pods of StatefulSet {self._namespace}/{name} is "
                "not known",
                "only a dry run of a Pod could tell, and there is no right to create one",
                "run preflight once as an administrator",
                advice=True,
            )
        )
        try:
            found = await self._client.get(
                object_path("apps/v1", "statefulsets", self._namespace, name)
            )
            if has_all(found):
                return []  # they were all accepted
            denial = await denial_of(self._client, found)
        except (NotFound, Forbidden):
            return [unsure]
        if denial is None:
            return [unsure]
        what = f"the cluster refuses this fleet's Pods in namespace {self._namespace}"
        return [Lack(Finding(what, denial.said, denial.remedy))]

    async def _objects(self, pod: Manifest, served: Callable[[str], bool]) -> list[Lack]:
        lacks: list[Lack] = []
        for resource in self._strategy.server_objects(pod, self._spec.template):
            wanted = labelled(resource, self._namespace, self._spec.name)
            if not served(wanted["apiVersion"]):
                continue
            owner = {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)}
            wanted["metadata"]["ownerReferences"] = [owner]
            try:
                await self._client.try_create(self._path(resource, wanted), _stamped(wanted))
                await self._try_node_ports(resource, wanted)
            except ApiError as error:
                if self._strategy.refused(error):
                    continue  # only taken just now
                told = self._strategy.failure(error)
                what = f"the cluster refuses this fleet's {wanted['kind']}"
                group = wanted["apiVersion"].rpartition("/")[0]
                right = (group, resource.plural, "create", self._namespace)
                lack = judged(what, error, right)
                if not isinstance(told, ApiError):  # in the strategy's own words
                    lack = Lack(Finding(what, str(told), "correct what it names"))
                lacks.append(lack)
        return lacks

    async def _try_node_ports(self, resource: Resource, wanted: Manifest) -> None:
        """Have the API server say whether NodePorts are in its range.

        No API tells the range, and a dry run does not look at it. So this asks for a Service that
        cannot be had: it wants one number more, which is outside of any range in use.

        Raises:
            Invalid: A number of ``wanted`` is outside of the range.
        """
        ports = wanted["spec"].get("ports", []) if wanted["kind"] == "Service" else []
        if not any("nodePort" in port for port in ports):
            return
        number = next(n for n in range(65535, 0, -1) if n not in {p["port"] for p in ports})
        impossible = {"name": "never", "port": number, "protocol": "TCP", "nodePort": _NEVER}
        body = {**wanted, "spec": {**wanted["spec"], "ports": [*ports, impossible]}}
        # Should it be made all the same, it belongs to a Pod that does not exist: it is collected.
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "never", "uid": str(uuid.uuid4())}
        body["metadata"] = {**wanted["metadata"], "ownerReferences": [owner]}
        try:
            await self._client.ask(self._path(resource, wanted), body)
        except Invalid as error:
            if f"Invalid value: {_NEVER}:" not in str(error):
                raise

    async def _try(
        self, kind: str, path: str, body: Manifest, needed: tuple[str, str]
    ) -> list[Lack]:
        try:
            await self._client.try_create(path, _stamped(body))
        except AlreadyExists:
            pass  # every check has accepted it before its name was looked at
        except ApiError as error:
            return [self._judged(kind, error, (*needed, "create", self._namespace))]
        return []

    async def _try_patch(
        self,
        kind: str,
        collection: str,
        shown: Manifest,
        operations: Sequence[Mapping[str, Any]],
        needed: tuple[str, str],
    ) -> list[Lack]:
        is_ours = {"op": "test", "path": _LABEL, "value": self._spec.name}
        try:
            await self._client.try_patch(member(collection, name_of(shown)), [is_ours, *operations])
        except ApiError as error:
            if isinstance(error, Conflict | Invalid | NotFound) and not error.plugin:
                return []  # not there; or written since it was read, so that a test fails
            return [self._judged(kind, error, (*needed, "patch", self._namespace))]
        return []

    @staticmethod
    def _judged(kind: str, error: ApiError, right: Right) -> Lack:
        return judged(f"the cluster refuses this fleet's {kind}", error, right)

    def _path(self, resource: Resource, manifest: Manifest) -> str:
        namespace = manifest["metadata"]["namespace"]
        return object_path(manifest["apiVersion"], resource.plural, namespace)


def _stamped(body: Manifest) -> Manifest:
    """Return an object with the annotation that each create adds: a check sees that too."""
    notes = {**annotations_of(body), OPERATION: uuid.uuid4().hex}
    return {**body, "metadata": {**body["metadata"], "annotations": notes}}
