"""What would keep a fleet from working, found before its first server. Writes nothing.

What the cluster would say is asked of the cluster: the rights by SelfSubjectAccessReview, and
everything that the fleet writes by a dry run (`Rehearsal`), which passes every admission check.
What a dry run was refused for is always a finding, unless it is a missing right that another
finding names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from podfleet.errors import ApiError, ConfigurationError, Forbidden, NotFound
from podfleet.fleet.rehearsal import Lack, Rehearsal, Right, judged
from podfleet.fleet.shared import differences
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import KubeClient
from podfleet.kube.admission import APPLY
from podfleet.kube.paths import object_path
from podfleet.manifests import labelled
from podfleet.model import Finding, Manifest
from podfleet.model.manifest import labels_of, name_of
from podfleet.model.rules import Rule

__all__ = ["preflight"]

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def preflight(spec: FleetSpec, client: KubeClient, namespace: str) -> tuple[Finding, ...]:
    """Return what is wrong; nothing, if the fleet can work.

    Raises:
        PodfleetError: The cluster cannot be asked: no connection, or it does not know us.
    """
    checks = _Checks(spec, client, namespace)
    await checks.look_for_apis()
    rights, *others = await asyncio.gather(
        checks.rights(),
        checks.apis(),
        checks.shared(),
        checks.server(),
        checks.leases(),
        checks.claim(),
        checks.nodes(),
    )
    return tuple(_said(rights, [lack for lacks in others for lack in lacks]))


def _said(rights: list[Lack], others: list[Lack]) -> Iterator[Finding]:
    """Yield each finding once."""
    yield from (lack.finding for lack in rights)
    missing = {lack.right for lack in rights}
    before: set[object] = set()
    for lack in others:
        if lack.right is not None and lack.right in missing:
            continue
        if lack.finding.what in before or (lack.once is not None and lack.once in before):
            continue
        before |= {lack.finding.what, lack.once}
        yield lack.finding


class _Checks:
    def __init__(self, spec: FleetSpec, client: KubeClient, namespace: str) -> None:
        self._spec = spec
        self._strategy = spec.exposure
        self._client = client
        self._namespace = namespace
        self._rehearsal = Rehearsal(spec, client, namespace)
        self._unserved: list[str] = []

    async def rights(self) -> list[Lack]:
        """Ask for every right by itself: one review answers for one."""
        asked = list(_single(self._spec.rules))
        allowed = await asyncio.gather(*(self._may(*one) for one in asked))
        return [
            Lack(
                Finding(
                    f"no right to {verb} {_spelled(rule, resource)}{self._where(rule)}",
                    f"without it {rule.optional}"
                    if rule.optional
                    else f"fleet {self._spec.name} needs it",
                    APPLY,
                    advice=bool(rule.optional),
                ),
                self._right(rule, resource, verb),
            )
            for (rule, resource, verb), may in zip(asked, allowed, strict=True)
            if not may
        ]

    async def look_for_apis(self) -> None:
        """Learn which of the APIs that are not Kubernetes' own the cluster serves."""
        self._unserved = [api for api in self._strategy.apis() if not await self._is_served(api)]

    async def apis(self) -> list[Lack]:
        """Return the APIs that the cluster does not serve."""
        return [
            Lack(
                Finding(
                    f"the cluster does not serve {api}",
                    f"{type(self._strategy).__name__} writes objects of it",
                    "install what brings its CustomResourceDefinitions",
                )
            )
            for api in self._unserved
        ]

    async def shared(self) -> list[Lack]:
        """Look at what all servers share."""
        found: list[Lack] = []
        for resource in self._spec.shared:
            wanted = labelled(resource, self._namespace, self._spec.name)
            if wanted["apiVersion"] in self._unserved:
                continue
            place = wanted["metadata"]["namespace"]
            what = f"{wanted['kind']} {place}/{name_of(wanted)}"
            why = f"the servers of fleet {self._spec.name} are reached through it"
            path = object_path(wanted["apiVersion"], resource.plural, place, name_of(wanted))
            try:
                shown = await self._client.get(path)
            except NotFound:
                if resource.exists:
                    found.append(Lack(Finding(f"no {what}", why, "make it, or name another")))
                else:
                    found += await self._rehearsal.shared(resource, wanted, what)
                continue
            except ApiError as error:
                group = wanted["apiVersion"].rpartition("/")[0]
                right = (group, resource.plural, "get", place)
                found.append(judged(f"the cluster refuses to show {what}", error, right))
                continue
            wrong = "; ".join(differences(wanted["spec"], shown.get("spec", {})))
            if wrong:
                finding = Finding(f"{what} differs: {wrong}", why, f"remove it, then {APPLY}")
                found.append(Lack(finding))
        return found

    async def server(self) -> list[Lack]:
        """Try a server, at both ends of the pool, without making it."""
        if self._spec.workload is not None:
            return await self._rehearsal.stateful_set(self._serves)
        found: list[Lack] = []
        for numbers in self._samples():
            if found := await self._rehearsal.server(numbers, self._serves):
                break  # mostly the other end is refused for the same
        return found

    async def leases(self) -> list[Lack]:
        """Try the Leases."""
        return await self._rehearsal.leases()

    async def claim(self) -> list[Lack]:
        """Try a claim."""
        return await self._rehearsal.claim()

    async def nodes(self) -> list[Lack]:
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
                finding = Finding(
                    f"Node {name_of(node)} has no usable address",
                    str(error.value if error.value != name_of(node) else error.field),
                    error.advice,
                )
                found.append(Lack(finding))
        return found

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

    def _serves(self, api: str) -> bool:
        return api not in self._unserved

    async def _is_served(self, api: str) -> bool:
        try:
            await self._client.get(f"/apis/{api}")
        except NotFound:
            return False
        return True

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

    def _right(self, rule: Rule, resource: str, verb: str) -> Right:
        namespace = "" if rule.cluster else rule.namespace or self._namespace
        return (rule.group, resource, verb, namespace)

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
