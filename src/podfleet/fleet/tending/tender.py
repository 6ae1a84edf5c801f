"""`Tender`: which replica tends the fleet now: the one that holds a Lease.

The Lease is taken when there is work, and kept while there is: a quiet fleet asks nothing of the
API server. Whether its holder still renews it, each replica tells by its own clock: `observed`. A
holder that was paused past its time does what it had begun; so no harm may come of two tenders for
a moment, and none does: a few servers more than were asked for.

On it stands, too, which templates the fleet has had, in the order in which they came: the last is
the fleet's. So of two replicas with different ones, as there are half way through a deploy, the
newer wins once, and a restart of the older changes nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from podfleet.errors import AlreadyExists, Conflict, Invalid, NotFound
from podfleet.fleet.gate import Gate
from podfleet.fleet.tending.observed import Observed, holder_of, lease_spec
from podfleet.kube import Guard
from podfleet.kube.retry import Backoff
from podfleet.model import Manifest, names
from podfleet.model.manifest import annotations_of

__all__ = ["Tender"]

_LASTS = 10.0  # seconds without renewal, after which another may take it
_RENEW = 5.0  # seconds before its end
_FRESH = 1.0  # seconds for which what stands on it is believed: a drain takes it before its time
_REMEMBERED = 32  # templates
_PAUSE = (0.02, 2.0)  # seconds, doubled, until a write is tried again that others came before
_PATIENCE = 30.0  # seconds for such tries together

_T = TypeVar("_T")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Tender:
    """A Lease of the fleet's, and whether it is this replica's.

    Args:
        fleet: The fleet's name.
        gate: Knows the Lease, and learns from it whether the fleet is drained.
        guard: Reads and writes the fleet's objects.
        revision: Of this replica's template.
        wall: The time of day, which the Lease tells people; nothing is decided by it.
    """

    def __init__(
        self,
        fleet: str,
        gate: Gate,
        guard: Guard,
        revision: str,
        wall: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.outdated = False
        """Whether the fleet has a newer template, as far as is known."""
        self.known = False
        """Whether the fleet knows this replica's template, as far as is known."""
        self.paused = False
        """Whether the roll-out is held, as far as is known."""
        self._revision = revision
        self._fleet = fleet
        self._guard = guard
        self._identity = uuid.uuid4().hex
        self._gate = gate
        self._until = float("-inf")
        self._observed = Observed()
        self._wall = wall

    async def take(self) -> bool:
        """Return whether it is this replica's turn, for some seconds; take it if it is free."""
        if self._is_kept and time.monotonic() < self._gate.looked + _FRESH:
            return True
        found = await self._read()
        if found is None:
            return await self._make({}, self._identity)
        if self._is_kept:
            return True
        return not self._is_others(found) and await self._write(found, self._identity)

    @property
    def _is_kept(self) -> bool:
        """Whether it is this replica's turn by what it knows, and need not be renewed yet."""
        return time.monotonic() < self._until - _RENEW

    async def look(self) -> None:
        """Learn whether the fleet has a newer template, is drained, or its roll-out is held."""
        await self._read()

    async def declare(self, *, again: bool = False) -> None:
        """Make this replica's template the fleet's, unless the fleet has had it before.

        Args:
            again: Also if it has: a step back.
        """

        async def attempt() -> bool | None:
            found = await self._read()
            if found is None:
                return await self._make({names.REVISIONS: self._revision}) or None
            before = _revisions(found)
            if before[-1:] == [self._revision] or (self._revision in before and not again):
                return True
            now = [one for one in before if one != self._revision] + [self._revision]
            return await self._note(found, {names.REVISIONS: " ".join(now[-_REMEMBERED:])}) or None

        await self._contend(attempt)

    async def hold(self, paused: bool) -> None:
        """Hold the roll-out, or have it go on."""

        async def attempt() -> bool | None:
            found, notes = await self._read(), {names.PAUSED: "true" if paused else "false"}
            made = self._make(notes) if found is None else self._note(found, notes)
            return await made or None

        await self._contend(attempt)

    async def close(self) -> float:
        """Have the fleet drained, unless it is; take the turn.

        Returns:
            Seconds for which another replica may act still on what it read before.
        """

        async def attempt() -> float | None:
            found = await self._read()
            now = self._wall().isoformat(timespec="milliseconds")
            if found is None:
                return 0.0 if await self._make({names.DRAINED: now}, self._identity) else None
            unsettled = _LASTS if self._is_others(found) else 0.0
            if self._gate.since is not None or await self._write(
                found, self._identity, {names.DRAINED: now}
            ):
                return unsettled
            return None

        return await self._contend(attempt)

    async def open(self) -> None:
        """Have the fleet drained no more."""

        async def attempt() -> bool | None:
            found = await self._read()
            if found is None or self._gate.since is None:
                return True
            return await self._note(found, {names.DRAINED: ""}) or None

        await self._contend(attempt)

    async def _contend(self, attempt: Callable[[], Awaitable[_T | None]]) -> _T:
        """Try until no other replica writes the Lease between the read and the write.

        Raises:
            Conflict: Others did each time.
        """
        backoff = Backoff(_PAUSE, free=1, within=_PATIENCE)
        while (done := await attempt()) is None:
            if backoff.spent:
                raise Conflict(
                    f"Lease {self._where}: not written within {_PATIENCE:g} s: it was changed, "
                    f"deleted or made by others each time, {backoff.failures + 1} times: try again",
                    status=409,
                    reason="Conflict",
                )
            await backoff.wait()
        return done

    @property
    def _where(self) -> str:
        return f"{self._gate.namespace}/{self._gate.lease}"

    async def _read(self) -> Manifest | None:
        found = await self._gate.look()
        if found is not None:
            self._learn(found)
        return found

    def _learn(self, found: Manifest) -> None:
        self._gate.learn(found)
        self._observed.see(found, time.monotonic())
        if holder_of(found) != self._identity:
            self._until = float("-inf")  # whoever drains the fleet takes it before its time
        revisions = _revisions(found)
        self.outdated = self._revision in revisions[:-1]
        self.known = self._revision in revisions
        self.paused = annotations_of(found).get(names.PAUSED) == "true"

    async def _note(self, found: Manifest, notes: dict[str, str]) -> bool:
        """Write annotations; ``False`` if the Lease was written since it was read."""
        written = await self._patch(
            found,
            {"/metadata/annotations": {**annotations_of(found), **notes}},
            lambda now: notes.items() <= annotations_of(now).items(),
        )
        if written is not None:
            self._learn(written)
        return written is not None

    async def give_back(self) -> None:
        """Let another replica take over at once."""
        if time.monotonic() < self._until:
            self._until = float("-inf")
            found = await self._guard.find(self._gate.leases, self._gate.lease)
            if found is not None and holder_of(found) == self._identity:
                await self._write(found, "")

    def _is_others(self, found: Manifest) -> bool:
        """Return whether another replica has the turn, as far as is known."""
        held = holder_of(found) not in ("", self._identity)
        return held and not self._observed.is_over(time.monotonic(), _LASTS)

    async def _make(self, notes: dict[str, str], holder: str = "") -> bool:
        began = time.monotonic()
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._gate.lease,
                "namespace": self._gate.namespace,
                "labels": {names.FLEET: self._fleet},
                "annotations": notes,
            },
            "spec": self._spec(None, holder),
        }
        try:
            self._learn(await self._guard.create(self._gate.leases, body))
        except AlreadyExists as error:
            if error.found is None or self._guard.owns(error.found):
                return False
            advice = "remove it, or rename the fleet"
            raise self._guard.taken(f"Lease {self._where}", advice) from error
        self._until = began + _LASTS if holder else float("-inf")
        return True

    async def _write(
        self, found: Manifest, holder: str, notes: dict[str, str] | None = None
    ) -> bool:
        began = time.monotonic()
        spec = self._spec(found, holder)
        changes: dict[str, Any] = {"/spec": spec}
        if notes:
            changes["/metadata/annotations"] = {**annotations_of(found), **notes}
        written = await self._patch(
            found,
            changes,
            lambda now: spec.items() <= (now.get("spec") or {}).items(),
        )
        if written is None:
            return False
        self._learn(written)
        self._until = began + _LASTS if holder else float("-inf")
        return True

    async def _patch(
        self, found: Manifest, changes: Mapping[str, Any], done: Callable[[Manifest], bool]
    ) -> Manifest | None:
        """Write parts of the Lease; ``None`` if another replica was faster.

        Raises:
            Invalid: It was refused for another reason: to try again would not help.
            NotFound: Likewise.
        """
        version = found["metadata"]["resourceVersion"]
        patch = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            *({"op": "add", "path": path, "value": value} for path, value in changes.items()),
        ]
        try:
            return await self._guard.patch(self._gate.leases, found, patch, done)
        except (Invalid, NotFound) as error:
            if error.found is not None and error.found["metadata"]["resourceVersion"] == version:
                raise  # nobody wrote since: it was not for a lost race
            return None

    def _spec(self, before: Manifest | None, holder: str) -> dict[str, Any]:
        return lease_spec(before, holder, self._wall(), max(1, int(_LASTS)))


def _revisions(found: Manifest) -> list[str]:
    """Return the revisions of the templates that the fleet has had, the present one last."""
    return annotations_of(found).get(names.REVISIONS, "").split()
