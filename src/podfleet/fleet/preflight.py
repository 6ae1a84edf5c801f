"""What would keep a fleet from working, found before its first server. Writes nothing.

What the cluster would say is asked of the cluster: the rights by SelfSubjectAccessReview, and
the Pod and its objects by creates with ``dryRun=All``, which pass every admission check; and the
range of NodePorts by a create that must be refused.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from podfleet.errors import (
    ApiError,
    ConfigurationError,
    Forbidden,
    Invalid,
    NotFound,
    PodfleetError,
)
from podfleet.exposure import Resource
from podfleet.fleet.shared import differences
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import KubeClient
from podfleet.kube.paths import object_path, pods
from podfleet.manifests import namespaced
from podfleet.model import Finding, Manifest
from podfleet.model.manifest import labels_of, name_of
from podfleet.model.names import new_server_name
from podfleet.model.rules import Rule

__all__ = ["preflight"]

_APPLY = "apply what fleet.manifests() returns"
_DRY = {"dryRun": "All", "fieldValidation": "Strict"}
_NEVER = 1  # as a nodePort
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def preflight(spec: FleetSpec, client: KubeClient, namespace: str) -> tuple[Finding, ...]:
    """Return what is wrong; nothing, if the fleet can work.

    Raises:
        PodfleetError: The cluster cannot be asked: no connection, or it does not know us.
    """
    checks = _Checks(spec, client, namespace)
    found = await asyncio.gather(
        checks.rights(), checks.apis(), checks.shared(), checks.server(), checks.nodes()
    )
    return tuple(finding for findings in found for finding in findings)


class _Checks:
    def __init__(self, spec: FleetSpec, client: KubeClient, namespace: str) -> None:
        self._spec = spec
        self._strategy = spec.exposure
        self._client = client
        self._namespace = namespace

    async def rights(self) -> list[Finding]:
        """Ask for every right by itself: one review answers for one."""
        asked = list(_single(self._spec.rules))
        allowed = await asyncio.gather(*(self._may(*one) for one in asked))
        return [
            Finding(
                f"no right to {verb} {_spelled(rule, resource)}{self._where(rule)}",
                f"without it {rule.optional}"
                if rule.optional
                else f"fleet {self._spec.name} needs it",
                _APPLY,
                advice=bool(rule.optional),
            )
            for (rule, resource, verb), may in zip(asked, allowed, strict=True)
            if not may
        ]

    async def apis(self) -> list[Finding]:
        """Look for the APIs that are not Kubernetes' own."""
        return [
            Finding(
                f"the cluster does not serve {api}",
                f"{type(self._strategy).__name__} writes objects of it",
                "install what brings its CustomResourceDefinitions",
            )
            for api in self._strategy.apis()
            if not await self._served(api)
        ]

    async def shared(self) -> list[Finding]:
        """Look at what all servers share."""
        found = []
        for resource in self._spec.shared:
            wanted = namespaced(resource, self._namespace)
            what = f"{wanted['kind']} {wanted['metadata']['namespace']}/{name_of(wanted)}"
            why = f"the servers of fleet {self._spec.name} are reached through it"
            try:
                shown = await self._client.get(_path(resource, wanted, one=True))
            except Forbidden:
                continue  # told among the rights
            except NotFound:
                if resource.exists:
                    found.append(Finding(f"no {what}", why, "make it, or name another"))
                elif not await self._may_make(resource, wanted):
                    found.append(Finding(f"no {what}, and no right to make it", why, _APPLY))
                continue
            wrong = "; ".join(differences(wanted["spec"], shown.get("spec", {})))
            if wrong:
                found.append(Finding(f"{what} differs: {wrong}", why, f"remove it, then {_APPLY}"))
        return found

    async def server(self) -> list[Finding]:
        """Try a server, at both ends of the pool, without making it."""
        if self._spec.workload is not None:
            return await self._stateful_set()
        found: list[Finding] = []
        for numbers in self._samples():
            body = self._spec.pod(self._namespace, new_server_name(self._spec.name), numbers)
            try:
                pod = await self._client.ask(pods(self._namespace), body, _DRY)
            except ApiError as error:
                return [self._refusal(error)]
            for resource in self._strategy.server_objects(pod, self._spec.template):
                wanted = namespaced(resource, self._namespace)
                try:
                    await self._client.ask(_path(resource, wanted), wanted, _DRY)
                    await self._try_node_ports(resource, wanted)
                except ApiError as error:
                    if isinstance(error, NotFound | Forbidden) or self._strategy.refused(error):
                        continue  # told among the APIs and the rights; or only taken just now
                    found.append(_failure(wanted["kind"], self._strategy.failure(error)))
        return found

    async def _stateful_set(self) -> list[Finding]:
        """Try the StatefulSet under another name: the fleet's own may exist."""
        body = self._spec.stateful_set(self._namespace)
        body["metadata"]["name"] = new_server_name(self._spec.name)
        path = object_path("apps/v1", "statefulsets", self._namespace)
        try:
            await self._client.ask(path, body, _DRY)
        except Forbidden:
            return []  # told among the rights
        except ApiError as error:
            return [_failure("StatefulSet", error)]
        return []

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
            await self._client.ask(_path(resource, wanted), body)
        except Invalid as error:
            if f"Invalid value: {_NEVER}:" not in str(error):
                raise

    async def nodes(self) -> list[Finding]:
        """Look for nodes on which a server could not be reached."""
        try:
            listed = (await self._client.get("/api/v1/nodes"))["items"]
        except Forbidden:
            return []  # told among the rights, if the fleet needs them at all
        found = []
        for node in listed:
            if not self._takes_servers(node):
                continue
            try:
                self._strategy.check_node(node)
            except ConfigurationError as error:
                found.append(
                    Finding(
                        f"Node {name_of(node)} has no usable address",
                        str(error.value if error.value != name_of(node) else error.field),
                        error.advice,
                    )
                )
        return found

    def _refusal(self, error: ApiError) -> Finding:
        what = f"the cluster refuses this fleet's Pods in namespace {self._namespace}"
        return Finding(what, error.said, error.remedy)

    def _samples(self) -> list[tuple[int, ...]]:
        needed = self._strategy.ports_needed(self._spec.template)
        pool = self._strategy.pool
        if pool is None or not needed:
            return [()]
        first = tuple(range(pool.first, pool.first + needed))
        last = tuple(range(pool.last - needed + 1, pool.last + 1))
        return [first, last]

    def _takes_servers(self, node: Manifest) -> bool:
        spec, template = node.get("spec") or {}, self._spec.template
        if any(labels_of(node).get(k) != v for k, v in template.node_selector.items()):
            return False
        repelled = spec.get("unschedulable") or any(
            taint["effect"] != "PreferNoSchedule" for taint in spec.get("taints") or []
        )
        return not repelled or bool(template.tolerations)

    async def _served(self, api: str) -> bool:
        try:
            await self._client.get(f"/apis/{api}")
        except NotFound:
            return False
        return True

    async def _may_make(self, resource: Resource, wanted: Manifest) -> bool:
        group = wanted["apiVersion"].rpartition("/")[0]
        rule = Rule(
            group, (resource.plural,), ("create",), namespace=wanted["metadata"]["namespace"]
        )
        return await self._may(rule, resource.plural, "create")

    async def _may(self, rule: Rule, resource: str, verb: str) -> bool:
        plural, _, subresource = resource.partition("/")
        attributes: dict[str, Any] = {
            "group": rule.group,
            "resource": plural,
            "subresource": subresource,
            "verb": verb,
            "namespace": "" if rule.cluster else rule.namespace or self._namespace,
            "name": rule.names[0] if rule.names else "",
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer: Mapping[str, Any] = await self._client.ask(_REVIEWS, body)
        return bool(answer["status"]["allowed"])

    def _where(self, rule: Rule) -> str:
        return "" if rule.cluster else f" in namespace {rule.namespace or self._namespace}"


def _single(rules: tuple[Rule, ...]) -> Iterator[tuple[Rule, str, str]]:
    for rule in rules:
        for resource in rule.resources:
            for verb in rule.verbs:
                yield rule, resource, verb


def _spelled(rule: Rule, resource: str) -> str:
    spelled = f"{resource}.{rule.group}" if rule.group else resource
    return f"{spelled} {', '.join(rule.names)}" if rule.names else spelled


def _failure(kind: str, error: PodfleetError) -> Finding:
    return Finding(f"the cluster refuses this fleet's {kind}", str(error), "correct what it names")


def _path(resource: Resource, manifest: Manifest, *, one: bool = False) -> str:
    object_name = name_of(manifest) if one else None
    namespace = manifest["metadata"]["namespace"]
    return object_path(manifest["apiVersion"], resource.plural, namespace, object_name)
