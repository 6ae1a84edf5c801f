"""`Provisioner`: makes a fleet's StatefulSet, renews its template, or adopts one."""

from __future__ import annotations

import asyncio
from typing import Any

from podfleet.errors import AlreadyExists, ConfigurationError, Invalid, NotFound
from podfleet.fleet.sets.ordinals import is_outdated
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import KubeClient, Store
from podfleet.kube.paths import object_path, pods, pointer
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of, uid_of
from podfleet.model.names import FLEET, STATE
from podfleet.model.server import ClaimState
from podfleet.model.workload import StatefulSet

__all__ = ["Provisioner"]

_PAUSE = 0.05  # seconds until a set is looked at again that was written meanwhile

_FLEET = pointer("metadata", "labels", FLEET)
_STATE = pointer("metadata", "labels", STATE)
_VERSION = pointer("metadata", "resourceVersion")


class Provisioner:
    """Makes the StatefulSet of a fleet, or adopts it; never removes it.

    Args:
        spec: The fleet's.
        workload: What was asked of it.
        client: The transport.
        store: The fleet's Pods.
        namespace: The fleet's namespace.
    """

    def __init__(
        self,
        spec: FleetSpec,
        workload: StatefulSet,
        client: KubeClient,
        store: Store,
        namespace: str,
    ) -> None:
        self._spec = spec
        self._workload = workload
        self._client = client
        self._store = store
        self._namespace = namespace
        self._name = workload.name or spec.name
        self._path = object_path("apps/v1", "statefulsets", namespace, self._name)

    async def prepare(self) -> Manifest:
        """Return the StatefulSet; make or adopt it first, unless that is done.

        Raises:
            ConfigurationError: One of that name is not this fleet's.
        """
        found = await self._found()
        if labels_of(found).get(FLEET) != self._spec.name:
            found = await self._adopt(found)
        elif self._is_outdated(found):
            found = await self._renew(found)
        if self._workload.adopt:
            await self._stamp(found)
        return found

    async def _found(self) -> Manifest:
        try:
            return await self._client.get(self._path)
        except NotFound:
            pass
        try:
            return await self._client.create(
                object_path("apps/v1", "statefulsets", self._namespace),
                self._spec.stateful_set(self._namespace),
            )
        except AlreadyExists:  # another replica starts too
            return await self._client.get(self._path)

    def _is_outdated(self, found: Manifest) -> bool:
        return is_outdated(found["spec"]["template"], self._spec.revision)

    async def _renew(self, found: Manifest) -> Manifest:
        """Give it the present template; its Pods get it when they come back (OnDelete)."""
        template = self._spec.stateful_set(self._namespace)["spec"]["template"]
        patch = [{"op": "replace", "path": "/spec/template", "value": template}]
        return await self._client.patch(
            self._path, patch, done=lambda now: not self._is_outdated(now)
        )

    async def _adopt(self, found: Manifest) -> Manifest:
        if not self._workload.adopt:
            raise ConfigurationError(
                "StatefulSet.name",
                self._name,
                f"StatefulSet {self._namespace}/{self._name} exists and is not fleet "
                f"{self._spec.name}'s: pass adopt=True to take it over, or another name",
            )
        own = {FLEET: self._spec.name, STATE: ClaimState.UNCLAIMED.value}
        template = {**labels_of(found["spec"]["template"]), **own}
        patch = [
            {"op": "test", "path": _VERSION, "value": found["metadata"]["resourceVersion"]},
            # First: a change of the template must not restart what runs.
            {"op": "add", "path": "/spec/updateStrategy", "value": {"type": "OnDelete"}},
            {"op": "add", "path": "/spec/template/metadata/labels", "value": template},
            {
                "op": "add",
                "path": "/metadata/labels",
                "value": {**labels_of(found), FLEET: self._spec.name},
            },
        ]
        try:
            return await self._client.patch(
                self._path, patch, done=lambda now: labels_of(now).get(FLEET) == self._spec.name
            )
        except Invalid:  # written meanwhile: by another replica that adopts it, or its controller
            return await self._adopt_again()

    async def _adopt_again(self) -> Manifest:
        found = await self._client.get(self._path)
        if labels_of(found).get(FLEET) == self._spec.name:
            return found
        await asyncio.sleep(_PAUSE)
        return await self._adopt(found)

    async def _stamp(self, found: Manifest) -> None:
        """Give the Pods that ran before the labels that later ones are born with."""
        matching = found["spec"]["selector"].get("matchLabels") or {}
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in matching.items())}
        for pod in (await self._client.get(pods(self._namespace), query))["items"]:
            owners = pod["metadata"].get("ownerReferences") or []
            if FLEET in labels_of(pod) or uid_of(found) not in [one["uid"] for one in owners]:
                continue
            patch: list[dict[str, Any]] = [
                {"op": "test", "path": "/metadata/uid", "value": uid_of(pod)},
                {"op": "test", "path": _VERSION, "value": pod["metadata"]["resourceVersion"]},
                {"op": "add", "path": _STATE, "value": ClaimState.UNCLAIMED.value},
                {"op": "add", "path": _FLEET, "value": self._spec.name},
            ]
            try:
                stamped = await self._client.patch(
                    pods(self._namespace, name_of(pod)),
                    patch,
                    done=lambda now: labels_of(now).get(FLEET) == self._spec.name,
                )
            except (Invalid, NotFound):
                return await self._stamp(found)  # written meanwhile: look at all again
            self._store.observe(stamped)
        return None
