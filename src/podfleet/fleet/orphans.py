"""`Orphans`: ready servers that nobody waits for."""

from __future__ import annotations

import time
from collections.abc import Collection

from podfleet.fleet.claim import is_claimable
from podfleet.model import Manifest
from podfleet.model.manifest import name_of
from podfleet.waiters.diagnosis import is_ready

__all__ = ["Orphans"]

_AFTER = 5.0
"""Seconds. The replica that started a server claims it within milliseconds of its becoming
ready. One that is unclaimed for much longer was started by a replica that is no more."""


class Orphans:
    """Knows since when each unclaimed server has been seen ready.

    Seen by this process's own clock: the nodes' clocks need not agree with it.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def follow(self, before: Manifest | None, after: Manifest | None) -> None:
        """Learn from a change in the store."""
        pod = after or before
        assert pod is not None
        if after is not None and is_claimable(after) and is_ready(after):
            self._since.setdefault(name_of(after), time.monotonic())
        else:
            self._since.pop(name_of(pod), None)

    def names(self, wanted: Collection[str]) -> list[str]:
        """Return the orphans, longest first, without those that somebody here waits for."""
        latest = time.monotonic() - _AFTER
        return [
            pod_name
            for pod_name, since in self._since.items()
            if since <= latest and pod_name not in wanted
        ]
