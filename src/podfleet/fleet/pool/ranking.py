"""`Ranking`: free servers in the order of a function of the user's."""

from __future__ import annotations

import logging
import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from typing import TypeAlias

from podfleet.fleet.pool.choice import Choice
from podfleet.log import about
from podfleet.model import GameServer, Manifest
from podfleet.model.manifest import name_of
from podfleet.model.server import server_from_pod

__all__ = ["Ranking", "Value"]

_log = logging.getLogger(__name__)

Value: TypeAlias = Callable[[GameServer], float]
"""A function from a free server to a number: the lowest goes first."""


class Ranking:
    """Names of free servers, the lowest value first.

    The function is asked when a server becomes free, and when it changes while it is; so
    choosing costs the same however many there are.

    Args:
        value: The user's function.
        choice: Which of the best it is.
    """

    def __init__(self, value: Value, choice: Choice) -> None:
        self._value = value
        self._order: list[tuple[float, str]] = []
        self._value_of: dict[str, float] = {}
        self._choice = choice

    def __iter__(self) -> Iterator[str]:
        return iter([name for _, name in self._order])

    def put(self, pod: Manifest) -> None:
        """Add a free server, or take note that it has changed."""
        name, value = name_of(pod), self._ask(pod)
        if self._value_of.get(name) != value:
            self.remove(name)
            insort(self._order, (value, name))
            self._value_of[name] = value

    def remove(self, server: str) -> bool:
        """Remove a server that is not free any more; return whether it was there."""
        value = self._value_of.pop(server, None)
        if value is None:
            return False
        del self._order[bisect_left(self._order, (value, server))]
        return True

    def allocate(self, node: str, change: int) -> None:
        """Take note that a node has more servers allocated, or fewer: the function decides."""

    def best(self) -> str | None:
        """Return one of the best servers, which stays there; ``None`` if there is none."""
        return self._choice.among(name for _, name in self._order)

    def _ask(self, pod: Manifest) -> float:
        """Return a server's value; the last of all if the function fails for it."""
        try:
            value = float(self._value(server_from_pod(pod, (), ready=True)))
        except Exception:  # the user's; a watch must go on
            _log.exception(
                "%s goes last: the fleet's packing function failed",
                name_of(pod),
                extra=about(server=name_of(pod)),
            )
            return math.inf
        return math.inf if math.isnan(value) else value
