"""`Census`: how many servers are in each state, counted as the watch shows them change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from podfleet.model import Manifest, ServerState
from podfleet.model.manifest import name_of
from podfleet.model.server import server_state
from podfleet.waiters.diagnosis import is_ready

__all__ = ["Census"]


class Census:
    """Counts servers by state."""

    def __init__(self) -> None:
        self._states: dict[str, ServerState] = {}
        self._counts: Counter[ServerState] = Counter()

    @property
    def counts(self) -> Mapping[ServerState, int]:
        """How many servers are in each state."""
        return self._counts

    def follow(self, before: Manifest | None, after: Manifest | None) -> None:
        """Learn from a change in the store."""
        pod = after or before
        assert pod is not None
        known = self._states.pop(name_of(pod), None)
        if known is not None:
            self._counts[known] -= 1
        if after is not None:
            state = server_state(after, ready=is_ready(after))
            self._states[name_of(after)] = state
            self._counts[state] += 1
