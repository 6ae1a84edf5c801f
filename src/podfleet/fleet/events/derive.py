"""What a change of a server's Pod means, as events. Pure.

Of each server only `Facts` are remembered, never its Pod: a few hundred bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from attrs import frozen

from podfleet.fleet.events.ending import Ending, ending, failure, restart, silence, vanished
from podfleet.fleet.sighting import Sighting
from podfleet.kube import Change
from podfleet.model import GameServer, Manifest, ServerState
from podfleet.model.container import Run, run_of
from podfleet.model.doubt import unreachable_since
from podfleet.model.event import EventKind, FleetEvent
from podfleet.model.manifest import annotations_of, uid_of
from podfleet.model.names import CLAIM, SESSION
from podfleet.model.server import ClaimState, claim_state, server_from_pod
from podfleet.model.slots import has_slots, sessions_of

__all__ = ["Derivation", "Facts", "Match", "step"]


@frozen
class Match:
    """What a server is allocated for.

    Args:
        claim: The claim that holds it, for the same session may come back to a recycled server;
            empty on a server that sessions share.
        session: The session, if it has a name.
    """

    claim: str
    session: str | None


@frozen
class Facts:
    """What was told of a server.

    Args:
        uid: The Pod's UID.
        matches: The matches on it.
        ended: Whether their end was told.
        told: `READY` or `FAILED`, if that was told since its last match.
        run: The run of its process that was seen last.
        doubted: Whether it was told that its node does not report.
    """

    uid: str
    matches: tuple[Match, ...] = ()
    ended: bool = False
    told: EventKind | None = None
    run: Run | None = None
    doubted: bool = False


def step(facts: Facts, seen: Sighting, at: datetime) -> tuple[Facts, list[FleetEvent]]:
    """Return what is to be told of a server, and what has been told then.

    Args:
        facts: What was told of it.
        seen: The server; its Pod is there.
        at: The time.
    """
    pod = seen.pod
    assert pod is not None, "of one that is gone `_gone` tells"
    matches = _matches(pod)
    end = ending(seen) if matches else None
    run = run_of(pod) or facts.run
    doubted = end is None and _is_in_doubt(seen)
    events = _of_matches(facts, matches, seen, at, end)
    told = None if events or matches else facts.told
    if end is None:
        events += _of_process(facts, matches, seen, at, run)
        events += _of_node(facts, matches, seen, at, doubted)
    free = None if matches else _of_free(seen, at)
    if free is not None and free.kind is not told:
        told = free.kind
        events.append(free)
    return Facts(facts.uid, matches, end is not None, told, run, doubted), events


def _of_matches(
    facts: Facts, matches: tuple[Match, ...], seen: Sighting, at: datetime, end: Ending | None
) -> list[FleetEvent]:
    """Return what is to be told of the matches on a server, and of those that were there."""
    served = () if facts.ended else facts.matches
    assert seen.pod is not None, "see `step`"
    left = "its session left" if has_slots(seen.pod) else "its server is kept for another match"
    over = Ending(EventKind.RELEASED, left)
    events = [_about(match, seen, at, over) for match in served if match not in matches]
    for match in matches:
        # One that was lost is served again if the cluster thinks better of an eviction.
        begins = match not in facts.matches or (facts.ended and end is None)
        if begins:
            events.append(_about(match, seen, at))
        if end is not None and (begins or match in served):
            events.append(_about(match, seen, at, end))
    return events


def _of_process(
    facts: Facts, matches: tuple[Match, ...], seen: Sighting, at: datetime, run: Run | None
) -> list[FleetEvent]:
    """Return what is to be told if the server's process was started again during a match."""
    if facts.ended or facts.run is None or not facts.run.is_followed_by(run):
        return []
    assert seen.pod is not None, "see `step`"
    again = restart(seen.pod)
    return [_about(match, seen, at, again) for match in matches if match in facts.matches]


def _of_node(
    facts: Facts, matches: tuple[Match, ...], seen: Sighting, at: datetime, doubted: bool
) -> list[FleetEvent]:
    """Return what is to be told if the server's node fell silent, or reports again."""
    whom = matches or (Match("", None),)  # a free server's events are about no session
    if doubted:
        new = [one for one in whom if not facts.doubted or (matches and one not in facts.matches)]
        return [_about(match, seen, at, silence(seen)) for match in new]
    if not facts.doubted or seen.state in (ServerState.ENDED, ServerState.STOPPING):
        return []
    assert seen.pod is not None, "see `step`"
    back = Ending(EventKind.REACHABLE, f"node {seen.pod['spec'].get('nodeName')} reports again")
    return [_about(one, seen, at, back) for one in whom if not matches or one in facts.matches]


def _is_in_doubt(seen: Sighting) -> bool:
    assert seen.pod is not None, "see `step`"
    if seen.state in (ServerState.ENDED, ServerState.STOPPING):
        return False
    return unreachable_since(seen.pod) is not None


def _of_free(seen: Sighting, at: datetime) -> FleetEvent | None:
    """Return what is to be told of a server that nobody has."""
    if seen.state is ServerState.READY:
        return FleetEvent(kind=EventKind.READY, at=at, server=_server(seen))
    diagnosis = failure(seen)
    if diagnosis is None:
        return None
    return FleetEvent(
        kind=EventKind.FAILED,
        at=at,
        server=_server(seen),
        reason=diagnosis.summary,
        diagnosis=diagnosis,
    )


def _gone(facts: Facts, last: Sighting, at: datetime) -> list[FleetEvent]:
    """Return what is to be told of a server whose Pod is no more.

    Args:
        facts: What was told of it.
        last: How it was seen last.
        at: The time.
    """
    matches = () if facts.ended else facts.matches
    how = vanished(last.pod)
    return [_about(match, last, at, how) for match in matches]


class Derivation:
    """Makes events of changes, for one who is told them all.

    Args:
        clock: Tells the time, in UTC.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._facts: dict[str, Facts] = {}
        self._clock = clock

    def show(self, seen: Sighting) -> list[FleetEvent]:
        """Return the present state of a server, unless it was told."""
        if seen.pod is None or seen.name in self._facts:
            return []
        events = self._follow(Facts(uid_of(seen.pod)), seen)
        if not self._facts[seen.name].ended:
            return events
        # Its beginning is no news any more.
        return [event for event in events if event.kind is not EventKind.ALLOCATED]

    def follow(self, change: Change, seen: Sighting) -> list[FleetEvent]:
        """Return what a change means.

        Args:
            change: The change.
            seen: The server after it.
        """
        facts = self._facts.get(seen.name)
        uid = None if seen.pod is None else uid_of(seen.pod)
        if facts is None and change.uid_before is not None:  # it has not been shown yet
            if uid == change.uid_before:
                return self.show(seen)
            before = Sighting(seen.name, change.before)
            facts, _ = step(Facts(change.uid_before), before, self._clock())
        events: list[FleetEvent] = []
        if facts is not None and facts.uid != uid:
            if facts.matches and not facts.ended:  # else there is no need to unpack it
                events += _gone(facts, Sighting(seen.name, change.before), self._clock())
            self._facts.pop(seen.name, None)
            facts = None
        if uid is not None:
            events += self._follow(facts or Facts(uid), seen)
        return events

    def _follow(self, facts: Facts, seen: Sighting) -> list[FleetEvent]:
        self._facts[seen.name], events = step(facts, seen, self._clock())
        return events


def _matches(pod: Manifest) -> tuple[Match, ...]:
    """Return the matches that a Pod is allocated for, whether it lives or not."""
    if claim_state(pod) is not ClaimState.ALLOCATED:
        return ()
    if has_slots(pod):
        return tuple(Match("", session) for session in sessions_of(pod))
    notes = annotations_of(pod)
    return (Match(notes.get(CLAIM, ""), notes.get(SESSION)),)


def _about(match: Match, seen: Sighting, at: datetime, end: Ending | None = None) -> FleetEvent:
    server = _server(seen, match.session)
    if end is None:
        return FleetEvent(kind=EventKind.ALLOCATED, at=at, server=server, session=match.session)
    return FleetEvent(
        kind=end.kind,
        at=at,
        server=server,
        session=match.session,
        reason=end.reason,
        diagnosis=end.diagnosis,
    )


def _server(seen: Sighting, session: str | None = None) -> GameServer | None:
    if seen.pod is None:
        return None
    return server_from_pod(seen.pod, (), ready=seen.ready, session=session)
