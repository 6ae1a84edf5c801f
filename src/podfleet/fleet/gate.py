"""`Gate`: whether the fleet hands out servers, or is drained: its Lease says so, to every replica.

Nobody is told when that changes. So it is read before a server is started for a caller, and after
it was created; and in between as often as somebody here waits (`Upkeep`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from podfleet.errors import FleetDraining
from podfleet.kube import Guard
from podfleet.kube.paths import leases
from podfleet.kube.store import version
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of, parse_time
from podfleet.model.names import DRAINED

__all__ = ["Gate"]


class Gate:
    """Whether the fleet is drained, as far as is known.

    Args:
        fleet: The fleet's name.
        namespace: The fleet's namespace.
        guard: Reads and writes the fleet's objects.
    """

    def __init__(self, fleet: str, namespace: str, guard: Guard) -> None:
        self.since: datetime | None = None
        """Since when it is drained; ``None`` if it is not."""
        self.looked = time.monotonic()
        """When that was read, on this machine's own clock."""
        self.namespace = namespace
        self.lease = f"{fleet}-tender"
        self.leases = leases(namespace)
        self._fleet = fleet
        self._guard = guard
        self._listeners: list[Callable[[], None]] = []
        self._version = self._learned = 0

    def listen(self, listener: Callable[[], None]) -> None:
        """Call the listener whenever the fleet is found drained, or reopened."""
        self._listeners.append(listener)

    async def look(self) -> Manifest | None:
        """Read the Lease, learn what it says, and return it; ``None`` if there is none yet.

        What another's Lease of that name says is not this fleet's.
        """
        before = self._learned
        found = await self._guard.find(self.leases, self.lease)
        if found is None:
            if self._learned == before:  # else it was made meanwhile
                self._is(None)
            return None
        self.learn(found)
        return found

    def learn(self, lease: Manifest) -> None:
        """Learn from the Lease, unless a later version of it has been here before."""
        if version(lease) >= self._version:
            self._version = version(lease)
            self._is(_moment(annotations_of(lease).get(DRAINED, "")))

    def _is(self, since: datetime | None) -> None:
        was_drained = self.since is not None
        self.since, self.looked = since, time.monotonic()
        self._learned += 1
        if (since is not None) != was_drained:
            for listener in self._listeners:
                listener()

    async def enter(self) -> None:
        """Return if the fleet hands out servers, as is read now.

        Raises:
            FleetDraining: It does not.
        """
        await self.look()
        if self.since is not None:
            raise self.refusal()

    def refusal(self) -> FleetDraining:
        """Return what a caller is told."""
        since = "" if self.since is None else f" since {self.since.isoformat(timespec='seconds')}"
        return FleetDraining(
            f"fleet {self._fleet}: it is drained{since}, and hands out no servers: fleet.reopen() "
            "puts it back into service"
        )


def _moment(written: str) -> datetime | None:
    """Return since when; ``None`` if it is not drained."""
    try:
        return parse_time(written)
    except ValueError:  # by a person's hand: "true"
        return datetime.now(UTC)
