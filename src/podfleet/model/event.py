"""`FleetEvent`: what has happened to a server of a fleet."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from attrs import frozen

from podfleet.diagnosis import Diagnosis
from podfleet.model.server import GameServer

__all__ = ["EventKind", "FleetEvent"]


class EventKind(Enum):
    """What has happened. More may be added: do nothing about one that you do not know."""

    READY = "ready"
    """A server is ready, and nobody's."""

    ALLOCATED = "allocated"
    """A session has a server."""

    RELEASED = "released"
    """A session's match is over, as somebody asked or as its server's process chose."""

    LOST = "lost"
    """A session has lost its server, and nobody asked for that."""

    RESTARTED = "restarted"
    """The process of a session's server ended and is started again in its Pod: what it held in
    memory is gone. The session keeps the server."""

    UNREACHABLE = "unreachable"
    """The node of a server stopped reporting: the server may be gone, or run on unseen."""

    REACHABLE = "reachable"
    """The node of a server that was `UNREACHABLE` reports again, and the server runs."""

    FAILED = "failed"
    """A server that is nobody's will never be ready: see the diagnosis."""

    SCALED = "scaled"
    """This backend made free servers, or deleted some that were too many, as the policy says."""

    ROLLED = "rolled"
    """No free server of another template is left: the roll-out is complete."""


@frozen(kw_only=True)
class FleetEvent:
    """One thing that happened in a fleet, as one backend saw it.

    Attributes:
        kind: What has happened.
        at: When this backend saw it, in UTC.
        server: The server as it was seen last; its ``endpoints`` may be empty. ``None`` if it is
            about no server.
        session: The session, if it is about one that has a name.
        reason: Why, in words; ``""`` if there is nothing to say.
        diagnosis: Why a server ended or will not be ready, if the cluster says more: with the exit
            code, and the last lines of its log if they could be read.

    Example:
        >>> from datetime import UTC, datetime
        >>> now = datetime(2026, 11, 23, 4, tzinfo=UTC)
        >>> print(FleetEvent(kind=EventKind.LOST, at=now, session="match-42", reason="evicted"))
        lost: match-42: evicted
    """

    kind: EventKind
    at: datetime
    server: GameServer | None = None
    session: str | None = None
    reason: str = ""
    diagnosis: Diagnosis | None = None

    def __str__(self) -> str:
        """Return the kind, the server, the session and the reason, as far as there are such."""
        server = self.server.name if self.server else ""
        return ": ".join(filter(None, (self.kind.value, server, self.session or "", self.reason)))
