"""`Orphans`: servers that nobody waits for, since their starter was killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from podfleet.fleet.claiming.claim import is_claimable
from podfleet.fleet.pool.free import is_offered
from podfleet.fleet.sighting import Sighting
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of, labels_of
from podfleet.model.names import PATIENCE, REVISION

__all__ = ["Orphans"]

_AFTER = 5.0
"""Seconds. The replica that started a server claims it within milliseconds of its becoming
ready. One that is unclaimed for much longer was started by a replica that is no more."""


class Orphans:
    """Knows since when each unclaimed server has been seen, and seen ready.

    Seen by this process's own clock: the nodes' clocks need not agree with it.

    Args:
        revision: The template's: a server of another one may lack a port, or run old code.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, revision: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._revision = revision
        self._clock = clock
        self._seen: dict[str, tuple[str, float, float]] = {}  # revision, seen since, patience
        self._ready: dict[str, float] = {}

    def follow(self, seen: Sighting) -> None:
        """Learn from a server that was seen."""
        pod_name, after = seen.name, seen.pod
        if after is None or not is_claimable(after) or is_offered(after):
            self._seen.pop(pod_name, None)
            self._ready.pop(pod_name, None)
            return
        revision = labels_of(after).get(REVISION, "")
        self._seen.setdefault(pod_name, (revision, self._clock(), _patience(after)))
        if seen.ready:
            self._ready.setdefault(pod_name, self._clock())
        else:
            self._ready.pop(pod_name, None)

    def adoptable(self) -> list[str]:
        """Return the ready orphans of the present template, longest first."""
        latest = self._clock() - _AFTER
        return [
            pod_name
            for pod_name, since in self._ready.items()
            if since <= latest and self._seen[pod_name][0] == self._revision
        ]

    def unclaimed(self, wanted: Collection[str]) -> set[str]:
        """Return the servers that nobody has claimed, and nobody here waits for."""
        return self._seen.keys() - set(wanted)

    def is_lost(self, pod_name: str) -> bool:
        """Return whether whoever started this unclaimed server has given it up, or is no more.

        It has been ready for long, or longer on its way than its starter would have waited.
        """
        if pod_name not in self._seen:
            return False
        _, since, patience = self._seen[pod_name]
        ready_since = self._ready.get(pod_name, float("inf"))
        return min(ready_since, since + patience) + _AFTER <= self._clock()


def _patience(pod: Manifest) -> float:
    """Return for how many seconds the starter of a server was going to wait for it."""
    try:
        return float(annotations_of(pod)[PATIENCE])
    except (KeyError, ValueError):
        return 0.0
