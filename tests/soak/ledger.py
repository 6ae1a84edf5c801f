"""`Ledger`: who was given which server, and how each session ended. What is wrong is told by it."""

from collections import Counter, deque

from attrs import define, field

from podfleet import EventKind, FleetEvent
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of
from podfleet.model.names import SESSION

__all__ = ["Ledger"]

_REMEMBERED = 300  # servers that were given: the last ones, of some days; it is measured too
_OVER = {EventKind.RELEASED, EventKind.LOST}


@define
class _Open:
    """A session that is not accounted for yet."""

    uid: str | None = None
    ended: dict[str, EventKind] = field(factory=dict)
    """What events said of its end, by server."""


@define
class Ledger:
    """Follows sessions from the moment at which a server is asked for.

    Args:
        counts: What became of them, of all until now.
        wrong: What must not be.
    """

    counts: Counter[str] = field(factory=Counter)
    wrong: list[str] = field(factory=list)
    errors: Counter[str] = field(factory=Counter)
    _open: dict[str, _Open] = field(factory=dict)
    _given: dict[str, str] = field(factory=dict)
    _order: deque[str] = field(factory=deque)

    def asked(self, session: str) -> None:
        """A server is asked for."""
        self.counts["asked"] += 1
        self._open[session] = _Open()

    def given(self, session: str, uid: str) -> None:
        """It was given one: no server is given to two, ever, as none is recycled here."""
        self.counts["given"] += 1
        self._open[session].uid = uid
        self._gives(session, uid)

    def refused(self, session: str, error: str) -> None:
        """It was given none, as far as its caller knows."""
        self.counts["refused"] += 1
        self.errors[error] += 1

    def told(self, event: FleetEvent) -> None:
        """An event of a session."""
        if event.session is None or event.kind not in (*_OVER, EventKind.ALLOCATED):
            return
        if event.server is not None and event.kind is EventKind.ALLOCATED:
            self._gives(event.session, event.server.uid)
        known = self._open.get(event.session)
        if known is not None and event.server is not None and event.kind in _OVER:
            known.ended[event.server.uid] = event.kind

    def settled(self, session: str, *, was_there: bool) -> bool:
        """It was looked for after its end.

        Args:
            session: The session.
            was_there: Whether its server was there, and was released.

        Returns:
            Whether that accounts for it; if not, perhaps its event is still on its way.
        """
        known = self._open[session]
        ended = next(iter(known.ended.values()), None)
        if known.uid is not None:
            ended = known.ended.get(known.uid)
        if was_there:
            how = "released"
        elif ended is not None:
            how = "lost" if ended is EventKind.LOST else "deleted"
        elif known.uid is None:
            how = "never given"
        else:
            return False
        self.counts[how] += 1
        del self._open[session]
        return True

    @property
    def open(self) -> list[str]:
        """The sessions that are not accounted for."""
        return list(self._open)

    def unaccounted(self, session: str) -> None:
        """No event came: the session vanished."""
        uid = self._open.pop(session).uid
        self.wrong.append(f"{session} was given {uid}, was not released, and no event names it")

    def failed(self, session: str, error: str) -> None:
        """It could not be followed to its end."""
        self._open.pop(session, None)
        self.wrong.append(f"{session}: {error}")

    def check(self, pods: list[Manifest]) -> None:
        """Look at the cluster's Pods: no session has two that run."""
        living = [
            pod
            for pod in pods
            if not pod["metadata"].get("deletionTimestamp")
            and pod["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        sessions = Counter(annotations_of(pod).get(SESSION) for pod in living)
        several = [one for one, count in sessions.items() if one is not None and count > 1]
        self.wrong += [f"{session} has more than one server" for session in several]

    def _gives(self, session: str, uid: str) -> None:
        if uid not in self._given:
            self._given[uid] = session
            self._order.append(uid)
        elif self._given[uid] != session:
            self.wrong.append(f"{uid} was given to {self._given[uid]} and to {session}")
        while len(self._order) > _REMEMBERED:
            self._given.pop(self._order.popleft(), None)
