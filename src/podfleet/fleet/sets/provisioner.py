"""`Provisioner`: makes a fleet's StatefulSet, renews its template, or adopts one."""

from __future__ import annotations

from typing import Any

from podfleet.errors import AlreadyExists, ConfigurationError, Invalid, NotFound
from podfleet.fleet.sets.ordinals import is_outdated
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import Guard, KubeClient, Store, written_since
from podfleet.kube.paths import member, object_path, pods, pointer
from podfleet.kube.retry import Backoff
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, uid_of
from podfleet.model.names import CONTAINER, FLEET, STATE
from podfleet.model.server import ClaimState
from podfleet.model.workload import StatefulSet

__all__ = ["Provisioner"]

_PAUSE = (0.05, 1.0)  # seconds, doubled, until a set is looked at again that was written meanwhile
_PATIENCE = 30.0  # seconds for such tries together

_FLEET = pointer("metadata", "labels", FLEET)
_STATE = pointer("metadata", "labels", STATE)


class Provisioner:
    """Makes the StatefulSet of a fleet, or adopts it; never removes it.

    Args:
        spec: The fleet's.
        workload: What was asked of it.
        client: Reads, also a set that is to be adopted.
        guard: Writes the fleet's objects.
        store: The fleet's Pods.
        namespace: The fleet's namespace.
    """

    def __init__(
        self,
        spec: FleetSpec,
        workload: StatefulSet,
        client: KubeClient,
        guard: Guard,
        store: Store,
        namespace: str,
    ) -> None:
        self._spec = spec
        self._workload = workload
        self._client = client
        self._guard = guard
        self._store = store
        self._namespace = namespace
        self._name = workload.name or spec.name
        self._sets = object_path("apps/v1", "statefulsets", namespace)

    async def prepare(self) -> Manifest:
        """Return the StatefulSet; make or adopt it first, unless that is done.

        Raises:
            ConfigurationError: One of that name is not this fleet's.
        """
        found = await self._found()
        if not self._guard.owns(found):
            found = await self._adopt(found)
        elif self._is_outdated(found):
            found = await self._renew(found)
        if self._workload.adopt:
            await self._stamp(found)
        return found

    async def _found(self) -> Manifest:
        try:
            return await self._read()
        except NotFound:
            pass
        try:
            return await self._guard.create(self._sets, self._spec.stateful_set(self._namespace))
        except AlreadyExists:  # another replica starts too
            return await self._read()

    async def _read(self) -> Manifest:
        return await self._client.get(member(self._sets, self._name))

    def _is_outdated(self, found: Manifest) -> bool:
        return is_outdated(found["spec"]["template"], self._spec.revision)

    async def _renew(self, found: Manifest) -> Manifest:
        """Give it the present template; its Pods get it when they come back (OnDelete)."""
        template = self._spec.stateful_set(self._namespace)["spec"]["template"]
        patch = [{"op": "replace", "path": "/spec/template", "value": template}]
        return await self._guard.patch(
            self._sets, found, patch, done=lambda now: not self._is_outdated(now)
        )

    async def _adopt(self, found: Manifest) -> Manifest:
        """Make it the fleet's, though another replica or its controller writes to it meanwhile."""
        backoff = Backoff(_PAUSE, within=_PATIENCE)
        while not self._guard.owns(found):
            try:
                return await self._adopt_once(found)
            except Invalid as error:
                if backoff.spent or not written_since(error, found):
                    raise
            await backoff.wait()
            found = await self._read()
        return found

    async def _adopt_once(self, found: Manifest) -> Manifest:
        adopt = self._workload.adopt
        if not adopt or FLEET in labels_of(found):
            advice = "another name" if adopt else "adopt=True to take it over, or another name"
            raise ConfigurationError(
                "StatefulSet.name",
                self._name,
                f"StatefulSet {self._namespace}/{self._name} exists and is not fleet "
                f"{self._spec.name}'s: pass {advice}",
            )
        own = {FLEET: self._spec.name, STATE: ClaimState.UNCLAIMED.value}
        template = {**labels_of(found["spec"]["template"]), **own}
        patch = [
            # First: a change of the template must not restart what runs.
            {"op": "add", "path": "/spec/updateStrategy", "value": {"type": "OnDelete"}},
            {"op": "add", "path": "/spec/template/metadata/labels", "value": template},
            {
                "op": "add",
                "path": "/metadata/labels",
                "value": {**labels_of(found), FLEET: self._spec.name},
            },
            *self._naming(found["spec"]["template"], "/spec/template"),
        ]
        return await self._guard.adopt(self._sets, found, patch, done=self._guard.owns)

    def _naming(self, shape: Manifest, place: str = "") -> list[dict[str, Any]]:
        """Return what records which container is the server, where the fleet's template says it.

        Args:
            shape: A Pod, or the set's template.
            place: Where that is in what is patched.
        """
        name = self._spec.template.container
        if name is None:
            return []
        # The patch tests the version: none that was written since is lost.
        notes = {**(shape.get("metadata", {}).get("annotations") or {}), CONTAINER: name}
        return [{"op": "add", "path": f"{place}/metadata/annotations", "value": notes}]

    async def _stamp(self, found: Manifest) -> None:
        """Give the Pods that ran before the labels that later ones are born with."""
        backoff = Backoff(_PAUSE, within=_PATIENCE)
        while not await self._stamp_once(found, is_last=backoff.spent):
            await backoff.wait()  # they are written meanwhile: look at all again

    async def _stamp_once(self, found: Manifest, *, is_last: bool) -> bool:
        matching = found["spec"]["selector"].get("matchLabels") or {}
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in matching.items())}
        for pod in (await self._client.get(pods(self._namespace), query))["items"]:
            owners = pod["metadata"].get("ownerReferences") or []
            if FLEET in labels_of(pod) or uid_of(found) not in [one["uid"] for one in owners]:
                continue
            patch: list[dict[str, Any]] = [
                {"op": "add", "path": _STATE, "value": ClaimState.UNCLAIMED.value},
                {"op": "add", "path": _FLEET, "value": self._spec.name},
                *self._naming(pod),
            ]
            try:
                stamped = await self._guard.adopt(
                    pods(self._namespace), pod, patch, done=self._guard.owns
                )
            except (Invalid, NotFound) as error:
                if is_last or not written_since(error, pod):
                    raise
                return False
            self._store.observe(stamped)
        return True
