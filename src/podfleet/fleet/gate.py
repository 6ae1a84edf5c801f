"""`Gate`: whether the fleet hands out servers, or is drained: its Lease says so, to every replica.

Nobody is told when that changes. So it is read before a server is started for a caller, and after
it was created; and in between as often as somebody here waits (`Upkeep`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from podfleet.errors import FleetDraining, NotFound
from podfleet.kube import KubeClient
from podfleet.kube.paths import object_path
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
        client: The transport.
    """

    def __init__(self, fleet: str, namespace: str, client: KubeClient) -> None:
        self.since: datetime | None = None
        """Since when it is drained; ``None`` if it is not."""
        self.looked = time.monotonic()
        """When that was read, on this machine's own clock."""
        self.lease = f"{fleet}-tender"
        self.leases = object_path("coordination.k8s.io/v1", "leases", namespace)
        self._fleet = fleet
        self._client = client
        self._listeners: list[Callable[[], None]] = []
        self._version = self._learned = 0

    @property
    def path(self) -> str:
        """The Lease's."""
        return f"{self.leases}/{self.lease}"

    def listen(self, listener: Callable[[], None]) -> None:
        """Call the listener whenever the fleet is found drained, or reopened."""
        self._listeners.append(listener)

    async def look(self) -> Manifest | None:
        """Read the Lease, learn what it says, and return it; ``None`` if there is none yet."""
        before = self._learned
        try:
            found: Manifest = await self._client.get(self.path)
        except NotFound:
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
