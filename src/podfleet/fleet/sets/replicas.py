"""`Replicas`: the Pods of a fleet's StatefulSet: taken, added, and given up.

What if we die after each line? Every step is one write whose outcome the next start reads: a set
without Pods, a larger set with a free server, a server marked as retiring that is still there
(`release_marks` takes the mark away when it is old).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Collection
from typing import Any

from podfleet.errors import (
    Conflict,
    Contended,
    Invalid,
    NotFound,
    PodfleetError,
)
from podfleet.fleet.claiming.claim import is_claimable, is_unchanged, transition
from podfleet.fleet.sets.denial import Denial, denial_of, has_all
from podfleet.fleet.sets.ordinals import by_ordinal, is_outdated, lowest_free, missing, reachable
from podfleet.fleet.sets.provisioner import Provisioner
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import Change, Guard, KubeClient, Store
from podfleet.kube.paths import object_path, pods, pointer
from podfleet.kube.retry import Backoff
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of, labels_of, uid_of
from podfleet.model.names import CLAIM, REVISION, STATE
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.workload import StatefulSet

__all__ = ["Replicas"]

_PAUSE = 1.0  # seconds between two looks, if nothing happens
_LOOK = 0.2  # seconds between two looks into memory
_MARK_LASTS = 30.0  # seconds; a scale-down takes its marked Pods within milliseconds
_AGAIN = (0.1, 2.0)  # seconds, doubled, between two tries of a scale-down that others wrote into

_VERSION = pointer("metadata", "resourceVersion")


class Replicas:
    """The StatefulSet of a fleet.

    Args:
        spec: The fleet's.
        workload: What was asked of it.
        client: Lists the Pods.
        guard: Reads and writes the fleet's objects.
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
        self._limit = workload.limit
        self._client = client
        self._guard = guard
        self._store = store
        self._namespace = namespace
        self._provisioner = Provisioner(spec, workload, client, guard, store, namespace)
        self._name = workload.name or spec.name
        self._sets = object_path("apps/v1", "statefulsets", namespace)
        self._own_pods = pods(namespace)
        self._changed: set[asyncio.Event] = set()
        self._growing = asyncio.Lock()
        self._line = asyncio.Lock()  # who waits longest has the next server
        self._waiting = 0
        self._replicas = 0
        self._revision: str | None = None  # of the set's template: perhaps not this backend's
        self._pods: dict[str, Manifest] = {}
        self.denial: Denial | None = None
        """What its next Pod was refused for, when that was looked for last."""
        self._marked: dict[str, tuple[str, float]] = {}  # uid of a retiring Pod: mark, seen since

    async def look_for_denial(self) -> None:
        """Learn whether its Pods are refused, and why: see `denial`."""
        try:
            found = await self._read()
            self.denial = None if has_all(found) else await denial_of(self._client, found)
        except PodfleetError:
            self.denial = None  # evidence that cannot be read is left out

    @property
    def at_limit(self) -> bool:
        """Whether it may not grow any more."""
        return self._limit is not None and self._replicas >= self._limit

    @property
    def pods(self) -> dict[int, Manifest]:
        """Its Pods by number, lowest first, as the watch shows them."""
        return by_ordinal(self._pods.values(), self._name)

    def follow(self, change: Change) -> None:
        """Learn from a change in the store."""
        after, uid = change.after, change.uid_before
        if after is None:
            self._pods.pop(change.name, None)
        else:
            self._pods[change.name] = after
        if uid is not None and (after is None or claim_state(after) is not ClaimState.RETIRING):
            self._marked.pop(uid, None)
        if after is not None and claim_state(after) is ClaimState.RETIRING:
            mark = annotations_of(after).get(CLAIM, "")
            known = self._marked.get(uid_of(after))
            if known is None or known[0] != mark:
                self._marked[uid_of(after)] = (mark, time.monotonic())
        for changed in self._changed:
            changed.set()

    async def prepare(self) -> None:
        """Make the StatefulSet, or adopt it, unless that is done.

        Raises:
            ConfigurationError: One of that name is not this fleet's.
        """
        self._learn(await self._provisioner.prepare())

    async def obtain(self, wanted: Collection[str]) -> Manifest:
        """Return the lowest free server as soon as there is one; add one if none will be.

        Args:
            wanted: Servers that other callers here are about to claim; may change meanwhile.
        """
        changed = asyncio.Event()
        self._changed.add(changed)
        self._waiting += 1
        try:
            async with self._line:
                while True:
                    changed.clear()
                    await self._renew_free()
                    pod = lowest_free(self.pods, self._revision, wanted)
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
        backoff = Backoff(_AGAIN)
        while True:
            try:
                # Others may take away marks that have lasted long: not ours, while we count on it.
                async with self._growing, asyncio.timeout(_MARK_LASTS / 2):
                    reached = await self._scale_once(wanted)
                if reached is not None:
                    return reached
            except TimeoutError:
                pass
            if time.monotonic() > deadline:
                raise Contended(
                    f"StatefulSet {self._namespace}/{self._name}: not brought to {wanted} "
                    f"replicas: it was changed meanwhile, each time within {timeout:g} s: "
                    "its servers come or go, or others scale it: try again"
                )
            await backoff.wait()

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
            _, since = self._marked.get(uid_of(pod), ("", latest + 1))
            if since <= latest:
                await self._unmark(pod)

    async def release_all_marks(self, deadline: float) -> None:
        """Do so until there are none, or until the deadline, by a clock that never goes back."""
        while True:
            is_late = time.monotonic() >= deadline
            await self.release_marks()
            if is_late or not self._marked:
                return
            await asyncio.sleep(_LOOK)

    async def _renew_free(self) -> None:
        """Have free servers of a former template come back with the set's present one."""
        if not self._outdated():
            return
        await self._read()  # another backend may have given the set a newer one
        for pod in self._outdated():
            try:
                await self._guard.delete(self._own_pods, pod)
            except Conflict:
                continue  # claimed, perhaps: look again at the next change

    def _outdated(self) -> list[Manifest]:
        pods = self.pods.values()
        return [pod for pod in pods if is_claimable(pod) and is_outdated(pod, self._revision)]

    async def _grow(self, spoken_for: int) -> None:
        """Add as many replicas as callers wait for in vain, within the limit.

        What the watch does not show yet, as a server that has just been released, counts too: one
        too many would stay.
        """
        async with self._growing:
            if not self._lacking(self.pods, spoken_for):
                return
            found = await self._read()
            lacking = self._lacking(await self._list(), spoken_for)
            target = self._replicas + lacking
            if self._limit is not None:
                target = min(target, self._limit)
            if target > self._replicas:
                await self._resize(found, target)

    def _lacking(self, pods: dict[int, Manifest], spoken_for: int) -> int:
        return missing(pods, self._replicas, self._waiting + spoken_for)

    async def _read(self) -> Manifest:
        found = await self._guard.get(self._sets, self._name)
        self._learn(found)
        return found

    def _learn(self, found: Manifest) -> None:
        self._replicas = found["spec"]["replicas"]
        self._revision = labels_of(found["spec"]["template"]).get(REVISION)

    async def _list(self) -> dict[int, Manifest]:
        """Return the Pods as the API server shows them now."""
        query = {"labelSelector": self._spec.selector}
        listed = (await self._client.get(pods(self._namespace), query))["items"]
        shown = [pod if self._store.observe(pod) else _taken(pod) for pod in listed]
        return by_ordinal(shown, self._name)

    async def _resize(self, found: Manifest, target: int) -> bool:
        """Set the number of replicas; ``False`` if the set was written since it was read."""
        patch = [
            {"op": "test", "path": _VERSION, "value": found["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/spec/replicas", "value": target},
        ]
        try:
            written = await self._guard.patch(
                self._sets, found, patch, done=lambda now: bool(now["spec"]["replicas"] == target)
            )
        except Invalid as error:
            now = error.found
            if now is not None and now["metadata"]["resourceVersion"] == patch[0]["value"]:
                raise  # nobody wrote since: it is refused for another reason
            return False
        self._replicas = written["spec"]["replicas"]
        if target > found["spec"]["replicas"]:
            await self._keep(target)
        return True

    async def _keep(self, replicas: int) -> None:
        """Take the marks off servers that stay after all, as the set has just been enlarged.

        Whoever marked them cannot count on it any more: that write made its shrinking fail.
        """
        for ordinal, pod in self.pods.items():
            if ordinal < replicas and claim_state(pod) is ClaimState.RETIRING:
                await self._unmark(pod)

    async def _retire(self, target: int, replicas: int) -> bool:
        """Mark the Pods from the top down; ``False`` if one was claimed meanwhile."""
        shown = self.pods
        for ordinal in range(replicas - 1, target - 1, -1):
            pod = shown.get(ordinal)
            if pod is None or pod["metadata"].get("deletionTimestamp"):
                continue
            if claim_state(pod) is ClaimState.ALLOCATED or not await self._mark(pod):
                return False
        return True

    async def _mark(self, pod: Manifest) -> bool:
        """Mark a server as about to go, or renew its mark; ``False`` if it was claimed."""
        mark = uuid.uuid4().hex
        return await self._write(
            pod,
            transition(pod, ClaimState.RETIRING, annotations={CLAIM: mark}),
            done=lambda now: annotations_of(now).get(CLAIM) == mark,
        )

    async def _unmark(self, pod: Manifest) -> bool:
        """Take this very mark away: whoever counts on the Pod's going has renewed it."""
        return await self._write(
            pod,
            transition(pod, ClaimState.UNCLAIMED, annotations={CLAIM: None}),
            done=lambda now: claim_state(now) is not ClaimState.RETIRING,
        )

    async def _write(
        self, pod: Manifest, patch: list[Any], done: Callable[[Manifest], bool]
    ) -> bool:
        """Patch this very Pod; ``False`` if it is not as it was seen, or gone."""
        try:
            written = await self._guard.patch(self._own_pods, pod, patch, done)
        except (Invalid, NotFound) as error:
            if error.found is not None:
                self._store.observe(error.found)
                if self._guard.owns(error.found) and is_unchanged(error.found, pod):
                    raise  # not for a lost race
            return False
        self._store.observe(written)
        return True


def _taken(pod: Manifest) -> Manifest:
    """Return what stands for a Pod that cannot be read: a match may run on it."""
    metadata = {key: pod["metadata"].get(key) for key in ("name", "namespace", "uid")}
    labels = {STATE: ClaimState.ALLOCATED.value}
    return {"metadata": {**metadata, "labels": labels}, "spec": {}, "status": {}}


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
