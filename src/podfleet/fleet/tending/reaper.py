"""`Reaper`: which servers are of no use any more, and for how long they have been seen so.

Nothing is decided on one look: what is wrong has to last, by this replica's own clock, and the
delete names the very version that was seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from attrs import frozen

from podfleet.fleet.pool.free import is_offered
from podfleet.fleet.pool.orphans import Orphans
from podfleet.fleet.sighting import Sighting
from podfleet.fleet.tally import Removal
from podfleet.fleet.tending.reason import Reason
from podfleet.model import Manifest, ServerState, Verdict
from podfleet.model.manifest import uid_of
from podfleet.model.server import ClaimState, claim_state

__all__ = ["Reaper"]

_ENDED = 30.0  # seconds for which an ended Pod can be looked at
_FAILING = 60.0  # seconds for a pull or a crash that the cluster tries again
_UNREADY = 60.0  # seconds for which a free server may be not ready: a node's blip is shorter
_RECYCLING = 300.0  # seconds that a recycled server has to say that it is ready again


@frozen
class _Case:
    uid: str
    why: Reason
    since: float
    due: float


class Reaper:
    """Remembers the servers that something is wrong with.

    A server that is allocated is not touched: only if its process has ended is it one.

    Args:
        orphans: The servers whose starters may be no more.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, orphans: Orphans, clock: Callable[[], float] = time.monotonic) -> None:
        self._orphans = orphans
        self._clock = clock
        self._cases: dict[str, _Case] = {}
        self._were_ready: set[str] = set()

    def follow(self, seen: Sighting) -> None:
        """Learn from a server that was seen."""
        name, pod = seen.name, seen.pod
        if pod is None:
            self._were_ready.discard(name)
            self._cases.pop(name, None)
            return
        if seen.ready:
            self._were_ready.add(name)
        found = self._wrong(seen, pod)
        if found is None:
            self._cases.pop(name, None)
            return
        why, patience = found
        known = self._cases.get(name)
        now = self._clock()
        same = known is not None and (known.uid, known.why) == (uid_of(pod), why)
        since = known.since if known is not None and same else now
        self._cases[name] = _Case(uid_of(pod), why, since, since + patience)

    def due(self) -> Iterator[tuple[str, Reason]]:
        """Yield the servers that are to go now, and why."""
        now = self._clock()
        for name, case in list(self._cases.items()):
            if case.due <= now:
                yield name, case.why
        for name in self._orphans.unclaimed(()):
            if name not in self._cases and self._orphans.is_lost(name):
                yield name, Reason(Removal.ORPHAN, "whoever started it is no more")

    def _wrong(self, seen: Sighting, pod: Manifest) -> tuple[Reason, float] | None:
        """Return what is wrong with a server, and for how many seconds it may be."""
        if seen.state is ServerState.ENDED:
            return Reason(Removal.ENDED, "its process has ended"), _ENDED
        if seen.state is ServerState.STOPPING or seen.ready:
            return None
        state = claim_state(pod)
        if state is ClaimState.RECYCLING:
            return _failed("it did not say that it is ready again"), _RECYCLING
        diagnosis = seen.diagnosis
        if state is not ClaimState.UNCLAIMED or not is_offered(pod) or diagnosis is None:
            return None  # somebody's; or being started by who will see to it
        if diagnosis.verdict is Verdict.FAILED:
            return _failed(str(diagnosis)), 0.0
        if diagnosis.verdict is Verdict.FAILING:
            return _failed(f"{diagnosis.reason}: {diagnosis.summary}"), _FAILING
        if seen.name in self._were_ready:
            why = f"it was ready, and is not: {diagnosis.reason}: {diagnosis.summary}"
            return _failed(why), _UNREADY
        return None


def _failed(text: str) -> Reason:
    return Reason(Removal.FAILED, text)
