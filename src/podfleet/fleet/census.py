"""`Census`: how many servers are in each state, counted as the watch shows them change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from podfleet.kube import Change
from podfleet.model import ServerState
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

    def follow(self, change: Change) -> None:
        """Learn from a change in the store."""
        after = change.after
        known = self._states.pop(change.name, None)
        if known is not None:
            self._counts[known] -= 1
        if after is not None:
            state = server_state(after, ready=is_ready(after))
            self._states[change.name] = state
            self._counts[state] += 1
