"""`Orphans`: ready servers that nobody waits for."""

from __future__ import annotations

import time
from collections.abc import Collection

from podfleet.fleet.claim import is_claimable
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of
from podfleet.model.names import REVISION
from podfleet.waiters.diagnosis import is_ready

__all__ = ["Orphans"]

_AFTER = 5.0
"""Seconds. The replica that started a server claims it within milliseconds of its becoming
ready. One that is unclaimed for much longer was started by a replica that is no more."""


class Orphans:
    """Knows since when each unclaimed server has been seen ready.

    Seen by this process's own clock: the nodes' clocks need not agree with it.

    Args:
        revision: The template's: a server of another one may lack a port, or run old code.
    """

    def __init__(self, revision: str) -> None:
        self._revision = revision
        self._since: dict[str, float] = {}

    def follow(self, before: Manifest | None, after: Manifest | None) -> None:
        """Learn from a change in the store."""
        pod = after or before
        assert pod is not None
        if after is not None and self._is_waiting(after):
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

    def _is_waiting(self, pod: Manifest) -> bool:
        same = labels_of(pod).get(REVISION) == self._revision
        return same and is_claimable(pod) and is_ready(pod)
