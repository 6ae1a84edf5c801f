"""`Replicas`: the StatefulSet of a fleet: made, adopted, grown and shrunk.

What if we die after each line? Every step is one write whose outcome the next start reads: a set
without Pods, a larger set with a free server, a server marked as retiring that is still there
(`release_marks` takes the mark away when it is old).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection
from typing import Any

from podfleet.errors import (
    AlreadyExists,
    ConfigurationError,
    Conflict,
    Contended,
    Invalid,
    NotFound,
)
from podfleet.fleet.claim import is_claimable
from podfleet.fleet.ordinals import by_ordinal, is_outdated, lowest_free, missing, reachable
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import KubeClient, Store
from podfleet.kube.paths import object_path, pods, pointer
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of, uid_of
from podfleet.model.names import FLEET, STATE
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.workload import StatefulSet

__all__ = ["Replicas"]

_PAUSE = 1.0  # seconds between two looks, if nothing happens
_MARK_LASTS = 30.0  # seconds; a scale-down takes its marked Pods within milliseconds
_AGAIN = (0.05, 0.2)  # seconds between two tries of a scale-down that others wrote into

_STATE = pointer("metadata", "labels", STATE)
_VERSION = pointer("metadata", "resourceVersion")


class Replicas:
    """The StatefulSet of a fleet.

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
        self._changed: set[asyncio.Event] = set()
        self._growing = asyncio.Lock()
        self._waiting = 0
        self._replicas = 0
        self._marked: dict[str, float] = {}  # uid of a retiring Pod: seen since

    @property
    def at_limit(self) -> bool:
        """Whether it may not grow any more."""
        return self._workload.limit is not None and self._replicas >= self._workload.limit

    @property
    def pods(self) -> dict[int, Manifest]:
        """Its Pods by number, lowest first, as the watch shows them."""
        return by_ordinal(self._store, self._name)

    def follow(self, before: Manifest | None, after: Manifest | None) -> None:
        """Learn from a change in the store."""
        if before is not None and (after is None or claim_state(after) is not ClaimState.RETIRING):
            self._marked.pop(uid_of(before), None)
        if after is not None and claim_state(after) is ClaimState.RETIRING:
            self._marked.setdefault(uid_of(after), time.monotonic())
        for changed in self._changed:
            changed.set()

    async def prepare(self) -> None:
        """Make the StatefulSet, or adopt it, unless that is done.

        Raises:
            ConfigurationError: One of that name is not this fleet's.
        """
        found: Manifest
        try:
            found = await self._client.get(self._path)
        except NotFound:
            try:
                found = await self._client.create(
                    object_path("apps/v1", "statefulsets", self._namespace),
                    self._spec.stateful_set(self._namespace),
                )
            except AlreadyExists:  # another replica starts too
                found = await self._client.get(self._path)
        if labels_of(found).get(FLEET) != self._spec.name:
            found = await self._adopt(found)
        elif self._is_outdated(found):
            found = await self._renew(found)
        self._replicas = found["spec"]["replicas"]
        if self._workload.adopt:
            await self._stamp(found)

    async def obtain(self, wanted: Collection[str]) -> Manifest:
        """Return the lowest free server as soon as there is one; add one if none will be.

        Args:
            wanted: Servers that other callers here are about to claim; may change meanwhile.
        """
        changed = asyncio.Event()
        self._changed.add(changed)
        self._waiting += 1
        try:
            while True:
                changed.clear()
                await self._renew_free()
                pod = lowest_free(self.pods, self._spec.revision, wanted)
                if pod is not None:
                    return pod
                await self._grow(len(wanted))
                await self.release_marks()
                await _wait(changed)
        finally:
            self._waiting -= 1
            self._changed.discard(changed)

    async def scale(self, wanted: int, timeout: float) -> int:
        """Bring the set to so many servers, or as near as its allocated ones allow.

        Args:
            wanted: How many.
            timeout: Seconds for trying again while others write to the set.

        Returns:
            How many servers it has now.

        Raises:
            Contended: Others wrote to it each time.
        """
        deadline = time.monotonic() + timeout
        while True:
            async with self._growing:
                reached = await self._scale_once(wanted)
            if reached is not None:
                return reached
            if time.monotonic() > deadline:
                raise Contended(
                    f"StatefulSet {self._namespace}/{self._name}: not brought to {wanted} "
                    f"replicas: it was changed meanwhile, each time within {timeout:g} s: "
                    "its servers come or go, or others scale it: try again"
                )
            await asyncio.sleep(random.uniform(*_AGAIN))

    async def _scale_once(self, wanted: int) -> int | None:
        """Try it; ``None`` if something changed meanwhile.

        Going down, the Pods that are to go are marked first, so that nobody claims them, by a
        patch that tests that nobody has. Then the set is shrunk, by a patch that tests that it
        was not written since the Pods were seen marked: a Pod that came back unmarked in
        between has changed the set's status.
        """
        found = await self._read()
        target = wanted
        if wanted < self._replicas:
            target = reachable(await self._list(), self._replicas, wanted)
            if not await self._retire(target, self._replicas):
                return None
            found = await self._read()
            if not _all_leave(await self._list(), target):
                return None
        if target == self._replicas or await self._resize(found, target):
            return target
        return None

    async def release_marks(self) -> None:
        """Make servers free again that a scale-down marked, and then did not come to take."""
        latest = time.monotonic() - _MARK_LASTS
        for pod in list(self.pods.values()):
            if self._marked.get(uid_of(pod), latest + 1) <= latest:
                await self._mark(pod, ClaimState.RETIRING, ClaimState.UNCLAIMED)

    async def _renew_free(self) -> None:
        """Have free servers of a former template come back with the present one."""
        for pod in self.pods.values():
            if is_claimable(pod) and is_outdated(pod, self._spec.revision):
                path = pods(self._namespace, name_of(pod))
                version = pod["metadata"]["resourceVersion"]
                try:
                    await self._client.delete(path, uid=uid_of(pod), version=version)
                except Conflict:
                    continue  # claimed, perhaps: look again at the next change

    async def _grow(self, spoken_for: int) -> None:
        """Add as many replicas as callers wait for in vain, within the limit."""
        async with self._growing:
            if not self._lacking(spoken_for):
                return
            found = await self._read()
            lacking = self._lacking(spoken_for)
            target = self._replicas + lacking
            if self._workload.limit is not None:
                target = min(target, self._workload.limit)
            if target > self._replicas:
                await self._resize(found, target)

    def _lacking(self, spoken_for: int) -> int:
        return missing(self.pods, self._replicas, self._waiting + spoken_for)

    async def _read(self) -> Manifest:
        found = await self._client.get(self._path)
        self._replicas = found["spec"]["replicas"]
        return found

    async def _list(self) -> dict[int, Manifest]:
        """Return the Pods as the API server shows them now."""
        query = {"labelSelector": self._spec.selector}
        listed = (await self._client.get(pods(self._namespace), query))["items"]
        for pod in listed:
            self._store.observe(pod)
        return by_ordinal(listed, self._name)

    async def _resize(self, found: Manifest, target: int) -> bool:
        """Set the number of replicas; ``False`` if the set was written since it was read."""
        patch = [
            {"op": "test", "path": _VERSION, "value": found["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/spec/replicas", "value": target},
        ]
        try:
            written = await self._client.patch(
                self._path, patch, done=lambda now: bool(now["spec"]["replicas"] == target)
            )
        except Invalid:
            return False
        self._replicas = written["spec"]["replicas"]
        return True

    async def _retire(self, target: int, replicas: int) -> bool:
        """Mark the Pods from the top down; ``False`` if one was claimed meanwhile."""
        shown = self.pods
        for ordinal in range(replicas - 1, target - 1, -1):
            pod = shown.get(ordinal)
            if pod is None or not is_claimable(pod):
                continue
            if not await self._mark(pod, ClaimState.UNCLAIMED, ClaimState.RETIRING):
                return False
        return True

    async def _mark(self, pod: Manifest, before: ClaimState, after: ClaimState) -> bool:
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": uid_of(pod)},
            {"op": "test", "path": _STATE, "value": before.value},
            {"op": "replace", "path": _STATE, "value": after.value},
        ]
        path = pods(self._namespace, name_of(pod))
        try:
            marked = await self._client.patch(
                path, patch, done=lambda now: claim_state(now) is after
            )
        except (Invalid, NotFound):
            return False
        self._store.observe(marked)
        return True

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
        await asyncio.sleep(0.05)
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
                {"op": "add", "path": _STATE, "value": ClaimState.UNCLAIMED.value},
                {
                    "op": "add",
                    "path": pointer("metadata", "labels", FLEET),
                    "value": self._spec.name,
                },
            ]
            version = pod["metadata"]["resourceVersion"]
            patch.insert(1, {"op": "test", "path": _VERSION, "value": version})
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


def _all_leave(pods: dict[int, Manifest], target: int) -> bool:
    """Return whether nobody can claim a Pod from this number on, nor has."""
    return all(
        pod["metadata"].get("deletionTimestamp") or claim_state(pod) is ClaimState.RETIRING
        for ordinal, pod in pods.items()
        if ordinal >= target
    )


async def _wait(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_PAUSE):
            await changed.wait()
    except TimeoutError:
        pass
