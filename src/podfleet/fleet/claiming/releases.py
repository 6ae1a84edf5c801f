"""`Releases`: the end of a match: its server is deleted, or kept for another.

A release is of one allocation: if the server has been somebody else's since, nothing is done. What
if we die after each line? A recycled server's old registration is over, and goes with the Pod.
"""

from __future__ import annotations

import logging

from podfleet.errors import Conflict, Invalid, NotFound
from podfleet.fleet.claiming.claim import free_again, recycle
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import KubeClient, Store
from podfleet.kube.paths import pods
from podfleet.log import about
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of, name_of, uid_of
from podfleet.model.names import CLAIM, SESSION
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.slots import has_slots

__all__ = ["Releases"]

_log = logging.getLogger(__name__)


class Releases:
    """Ends allocations and reservations.

    Args:
        spec: The fleet's.
        namespace: The fleet's namespace.
        client: The transport.
        store: The fleet's Pods.
    """

    def __init__(self, spec: FleetSpec, namespace: str, client: KubeClient, store: Store) -> None:
        self._spec = spec
        self._namespace = namespace
        self._client = client
        self._store = store

    async def release(self, pod: Manifest, *, keep: bool) -> str | None:
        """End whatever holds a Pod; return the session whose registration is over with it.

        Args:
            pod: The Pod, as it was when it was allocated or reserved.
            keep: Whether to recycle it, if that can be.
        """
        seen = self._store.get(name_of(pod)) or await self._read(name_of(pod))
        while seen is not None and _is_same(seen, pod):
            try:
                session = await self._end(seen, keep=keep)
                self._tell(seen)
                return session
            except (Conflict, Invalid):  # written since it was seen
                seen = await self._read(name_of(pod))
            except NotFound:
                break
        return None

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
        path = pods(self._namespace, name_of(seen))
        state = claim_state(seen)
        if state is ClaimState.RESERVED:
            await self._write(path, free_again(seen), ClaimState.RESERVED)
            return None
        # A time limit cannot be taken back: it would end the next match.
        if keep and state is ClaimState.ALLOCATED and "activeDeadlineSeconds" not in seen["spec"]:
            await self._write(path, recycle(seen, self._spec.template), ClaimState.ALLOCATED)
            return annotations_of(seen).get(SESSION)
        version = seen["metadata"]["resourceVersion"]
        await self._client.delete(path, uid=uid_of(seen), version=version)
        return None

    async def _write(self, path: str, patch: list[dict[str, object]], state: ClaimState) -> None:
        written = await self._client.patch(
            path, patch, done=lambda now: claim_state(now) is not state
        )
        self._store.observe(written)

    async def _read(self, name: str) -> Manifest | None:
        try:
            return await self._client.get(pods(self._namespace, name))
        except NotFound:
            return None


def _is_same(seen: Manifest, pod: Manifest) -> bool:
    """Return whether a Pod is still what it was, and the same caller's."""
    return (
        uid_of(seen) == uid_of(pod)
        and (has_slots(seen) or annotations_of(seen).get(CLAIM) == annotations_of(pod).get(CLAIM))
        and not seen["metadata"].get("deletionTimestamp")
    )
