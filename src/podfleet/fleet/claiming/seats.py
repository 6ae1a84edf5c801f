"""`Seats`: sessions that take more slots of their shared server, or give some back.

Each change is one write, by compare-and-set: it tests the Pod's turn. Its id stays on the Pod for a
while, so that a reply that was lost is found again; and a call that is made again, by its request.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime

from podfleet.errors import Exhausted, NotFound
from podfleet.fleet.claiming.claim import share, was_by
from podfleet.fleet.claiming.claims import Claims
from podfleet.kube.retry import Backoff
from podfleet.model import Manifest
from podfleet.model.manifest import name_of, namespace_of, uid_of
from podfleet.model.slots import free_slots, sessions_of

__all__ = ["Seats"]

_RACE = (0.01, 1.0)  # seconds, doubled, until a server is written that others write, too


class Seats:
    """Changes how many slots a session has.

    Args:
        claims: Finds a session's server, and writes to it.
    """

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    async def join(self, session: str, slots: int, request: str | None) -> Manifest:
        """Take so many slots more for a session; return its server.

        Raises:
            NotFound: The session has no server.
            Exhausted: Its server has not as many free.
        """
        change = _change("join", session, request)
        backoff = Backoff(_RACE, free=2)
        while (pod := await self._claims.find(session)) is not None:
            if was_by(pod, change):
                return pod
            if free_slots(pod) < slots:
                raise Exhausted(
                    f"{namespace_of(pod)}/{name_of(pod)}: session {session!r} asks for {slots} "
                    f"slot(s) more, and {free_slots(pod)} are free: allocate for another session"
                )
            before = sessions_of(pod)
            written = await self._write(pod, {**before, session: before[session] + slots}, change)
            if written is not None:
                return written
            await backoff.wait()
        raise NotFound(
            f"session {session!r} has no server: allocate it first", status=404, reason="NotFound"
        )

    async def leave(
        self, session: str, slots: int | None, request: str | None, *, uid: str | None = None
    ) -> bool:
        """Give slots of a session back, all by default; return whether it has none any more.

        Args:
            session: The session.
            slots: How many.
            request: The caller's own name for this change.
            uid: Only on the server of this UID; by default on the one that the session has.
        """
        change = _change("leave", session, request)
        backoff = Backoff(_RACE, free=2)
        while (pod := await self._claims.find(session)) is not None:
            if was_by(pod, change) or uid not in (None, uid_of(pod)):
                return False
            left = dict(sessions_of(pod))
            left[session] -= left[session] if slots is None else min(slots, left[session])
            if not left[session]:
                del left[session]
            if await self._write(pod, left, change) is not None:
                return session not in left
            await backoff.wait()
        return True

    async def _write(self, pod: Manifest, sessions: dict[str, int], change: str) -> Manifest | None:
        """Write it; ``None`` if somebody else wrote since."""
        patch = share(pod, sessions, change, datetime.now(UTC))
        written = await self._claims.write(pod, patch, done=lambda now: was_by(now, change))
        return written if written is not None and was_by(written, change) else None


def _change(kind: str, session: str, request: str | None) -> str:
    """Return the id of a change: the same for a request that is made again."""
    if request is None:
        return uuid.uuid4().hex
    return hashlib.sha256(f"{kind}\0{session}\0{request}".encode()).hexdigest()[:32]
