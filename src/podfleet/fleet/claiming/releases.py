"""`Releases`: the end of a match: its server is deleted, or kept for another.

A release is of one allocation: if the server has been somebody else's since, nothing is done. What
if we die after each line? A recycled server's old registration is over, and goes with the Pod.
"""

from __future__ import annotations

import asyncio
import logging

from podfleet.chance import CHANCE
from podfleet.errors import Conflict, Invalid, NotFound, PodfleetError
from podfleet.fleet.claiming.claim import free_again, is_unchanged, recycle
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import Guard, Store
from podfleet.kube.paths import pods, pointer
from podfleet.kube.retry import Backoff
from podfleet.log import about
from podfleet.model import Manifest
from podfleet.model.container import has_ended
from podfleet.model.manifest import annotations_of, name_of, uid_of
from podfleet.model.names import CLAIM, RECYCLED, SESSION
from podfleet.model.readable import unreadable_pod
from podfleet.model.recycling import noted
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.slots import has_slots

__all__ = ["Releases"]

_log = logging.getLogger(__name__)

_AGAIN = (0.02, 2.0)  # seconds, doubled, until a server is released as it is now
_PATIENCE = 30.0  # seconds for such tries together
_SPREAD = 0.3  # seconds at most, so that mostly one replica writes a note and the others see it


class Releases:
    """Ends allocations and reservations.

    Args:
        spec: The fleet's.
        namespace: The fleet's namespace.
        guard: Reads and writes the fleet's objects.
        store: The fleet's Pods.
    """

    def __init__(self, spec: FleetSpec, namespace: str, guard: Guard, store: Store) -> None:
        self._spec = spec
        self._namespace = namespace
        self._pods = pods(namespace)
        self._guard = guard
        self._store = store

    async def release(self, pod: Manifest, *, keep: bool) -> str | None:
        """End whatever holds a Pod; return the session whose registration is over with it.

        Args:
            pod: The Pod, as it was when it was allocated or reserved.
            keep: Whether to recycle it, if that can be.

        Raises:
            NotFound: It is there, and not the fleet's: nothing is done.
            ApiError: The API server refuses it for another reason than a write that came first.
        """
        seen = self._store.get(name_of(pod))
        if seen is None or seen["metadata"].get("deletionTimestamp"):  # perhaps only skipped
            seen = await self._read(pod)
        backoff = Backoff(_AGAIN, free=1, within=_PATIENCE)  # what the watch has shown may be old
        while seen is not None and _is_same(seen, pod):
            try:
                session = await self._end(seen, keep=keep)
                self._tell(seen)
                return session
            except (Conflict, Invalid, NotFound) as error:  # written since it was seen, or gone
                now = await self._read(pod)
                # A Conflict is of any write, the kubelet's too; else only of the claim's.
                same = now is not None and is_unchanged(now, seen)
                if backoff.spent or (same and not isinstance(error, Conflict)):
                    raise
                seen = now
            await backoff.wait()
        return None

    async def named(self, name: str) -> Manifest | None:
        """Return a server by its name; ``None`` if there is none, as after its release.

        Raises:
            NotFound: What has that name is not the fleet's.
        """
        try:
            return self._store.get(name) or await self._guard.get(self._pods, name)
        except NotFound as error:
            if error.found is not None:
                raise
            return None

    async def note_unready(self, pod: Manifest) -> None:
        """Record on a recycled server that it is not ready: see `podfleet.model.recycling`.

        Every replica that sees it tries; the patch tests what it replaces, so one of them writes.
        """
        note, path = noted(pod), pointer("metadata", "annotations", RECYCLED)
        before = annotations_of(pod)[RECYCLED]
        await asyncio.sleep(CHANCE.uniform(0, _SPREAD))
        shown = self._store.get(name_of(pod))
        if shown is None or annotations_of(shown).get(RECYCLED) != before:
            return  # another replica was faster
        try:
            written = await self._guard.patch(
                self._pods,
                pod,
                [
                    {"op": "test", "path": path, "value": before},
                    {"op": "add", "path": path, "value": note},
                ],
                done=lambda now: annotations_of(now).get(RECYCLED) == note,
            )
        except (Invalid, NotFound):
            return
        except PodfleetError as error:
            _log.warning(
                "%s/%s: it is not recorded that it was not ready, so it may not be used again: %s",
                self._namespace,
                name_of(pod),
                error,
                extra=about(fleet=self._spec.name, namespace=self._namespace, server=name_of(pod)),
            )
            return
        self._store.observe(written)

    def _tell(self, seen: Manifest) -> None:
        server, session = name_of(seen), annotations_of(seen).get(SESSION)
        _log.info(
            "%s/%s: released",
            self._namespace,
            server,
            extra=about(
                fleet=self._spec.name, namespace=self._namespace, server=server, session=session
            ),
        )

    async def _end(self, seen: Manifest, *, keep: bool) -> str | None:
        state = claim_state(seen)
        if state is ClaimState.RESERVED:
            await self._write(seen, free_again(seen), ClaimState.RESERVED)
            return None
        # A time limit cannot be taken back: it would end the next match. Nor is a server kept that
        # has ended, or that cannot be read: nobody would get it.
        may_stay = "activeDeadlineSeconds" not in seen["spec"] and not has_ended(seen)
        keep = keep and may_stay and unreadable_pod(seen) is None
        if keep and state is ClaimState.ALLOCATED:
            await self._write(seen, recycle(seen, self._spec.template), ClaimState.ALLOCATED)
            return annotations_of(seen).get(SESSION)
        await self._guard.delete(self._pods, seen)
        return None

    async def _write(
        self, seen: Manifest, patch: list[dict[str, object]], state: ClaimState
    ) -> None:
        written = await self._guard.patch(
            self._pods, seen, patch, done=lambda now: claim_state(now) is not state
        )
        self._store.observe(written)

    async def _read(self, pod: Manifest) -> Manifest | None:
        """Return the Pod of this name; ``None`` if it is gone, or a namesake is there.

        Raises:
            NotFound: This very Pod is there, and not the fleet's.
        """
        try:
            return await self._guard.get(self._pods, name_of(pod))
        except NotFound as error:
            if error.found is None:
                return None
            self._store.observe(error.found)
            if uid_of(error.found) == uid_of(pod):
                raise
            return None


def _is_same(seen: Manifest, pod: Manifest) -> bool:
    """Return whether a Pod is still what it was, and the same caller's."""
    return (
        uid_of(seen) == uid_of(pod)
        and (has_slots(seen) or annotations_of(seen).get(CLAIM) == annotations_of(pod).get(CLAIM))
        and not seen["metadata"].get("deletionTimestamp")
    )
