"""`Tender`: which replica tends the fleet now: the one that holds a Lease.

The Lease is taken when there is work, and kept while there is: a quiet fleet asks nothing of the
API server. A holder that was paused past its time does what it had begun; so no harm may come of
two tenders for a moment, and none does: a few servers more than were asked for.
"""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from podfleet.errors import AlreadyExists, Invalid, NotFound
from podfleet.kube import KubeClient
from podfleet.kube.paths import object_path
from podfleet.model import Manifest, names
from podfleet.model.manifest import parse_time

__all__ = ["Tender"]

_LASTS = 10.0  # seconds without renewal, after which another may take it
_RENEW = 5.0  # seconds before its end
_SKEW = 60.0  # seconds by which clocks may differ: a Lease that is older is nobody's


class Tender:
    """A Lease of the fleet's, and whether it is this replica's.

    Args:
        fleet: The fleet's name.
        namespace: The fleet's namespace.
        client: The transport.
    """

    def __init__(self, fleet: str, namespace: str, client: KubeClient) -> None:
        self._fleet = fleet
        self._client = client
        self._identity = uuid.uuid4().hex
        self._name = f"{fleet}-tender"
        self._leases = object_path("coordination.k8s.io/v1", "leases", namespace)
        self._path = f"{self._leases}/{self._name}"
        self._until = float("-inf")
        self._seen: tuple[str, float] = ("", float("inf"))  # its version, and since when

    async def take(self) -> bool:
        """Return whether it is this replica's turn, for some seconds; take it if it is free."""
        if time.monotonic() < self._until - _RENEW:
            return True
        try:
            found: Manifest = await self._client.get(self._path)
        except NotFound:
            return await self._make()
        holder = found["spec"].get("holderIdentity")
        return (not holder or holder == self._identity or self._is_over(found)) and (
            await self._write(found, self._identity)
        )

    async def give_back(self) -> None:
        """Let another replica take over at once."""
        if time.monotonic() < self._until:
            self._until = float("-inf")
            found: Manifest = await self._client.get(self._path)
            if found["spec"].get("holderIdentity") == self._identity:
                await self._write(found, "")

    def _is_over(self, found: Manifest) -> bool:
        """Return whether its holder has not renewed it in time, by this replica's own clock."""
        renewed = parse_time(found["spec"].get("renewTime"))
        if renewed is None or abs(datetime.now(UTC) - renewed) > timedelta(seconds=_SKEW):
            return True
        version = found["metadata"]["resourceVersion"]
        if self._seen[0] != version:
            self._seen = (version, time.monotonic())
        return time.monotonic() - self._seen[1] > _LASTS

    async def _make(self) -> bool:
        began = time.monotonic()
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "labels": {names.FLEET: self._fleet}},
            "spec": self._spec(self._identity),
        }
        try:
            await self._client.create(self._leases, body)
        except AlreadyExists:
            return False
        self._until = began + _LASTS
        return True

    async def _write(self, found: Manifest, holder: str) -> bool:
        began = time.monotonic()
        spec = self._spec(holder)
        version = found["metadata"]["resourceVersion"]
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/spec", "value": spec},
        ]
        try:
            await self._client.patch(
                self._path,
                patch,
                done=lambda now: bool(now["spec"].get("renewTime") == spec["renewTime"]),
            )
        except (Invalid, NotFound):  # another replica was faster
            return False
        self._until = began + _LASTS if holder else float("-inf")
        return True

    def _spec(self, holder: str) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        # No empty holder: the API server refuses it.
        return {
            **({"holderIdentity": holder} if holder else {}),
            "leaseDurationSeconds": int(_LASTS),
            "renewTime": now,
        }
