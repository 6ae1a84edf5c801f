"""`Census`: how many servers are in each state, counted as the watch shows them change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from podfleet.fleet.sighting import Sighting
from podfleet.model import ServerState

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

    def follow(self, seen: Sighting) -> None:
        """Learn from a server that was seen."""
        known = self._states.pop(seen.name, None)
        if known is not None:
            self._counts[known] -= 1
        if seen.state is not None:
            self._states[seen.name] = seen.state
            self._counts[seen.state] += 1
