"""`Strays`: registrations that serve nobody, since whoever made them was killed.

Each stands in nobody's way, and goes with its Pod: but a server that is kept may live long.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from attrs import frozen

from podfleet.fleet.claiming import protocol
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.claiming.claims import Claims
from podfleet.fleet.claiming.registration import Registration, registration_of
from podfleet.kube import Guard, KubeClient, Store
from podfleet.kube.paths import leases
from podfleet.model.manifest import labels_of, uid_of
from podfleet.model.names import FLEET, SESSION
from podfleet.model.slots import sessions_of

__all__ = ["Stray", "Strays"]

_AFTER = 5.0  # seconds; a caller that lives claims within milliseconds of its registration


@frozen
class Stray:
    """A registration that serves nobody, as it seems.

    Args:
        fleet: The fleet, or the group of fleets, under whose name it was made.
        registration: The registration.
        due: Seconds on a clock that never goes back: its maker would have claimed by then.
    """

    fleet: str
    registration: Registration
    due: float


class Strays:
    """Finds such registrations, and removes them.

    Args:
        namespace: The fleet's namespace.
        client: Lists the Leases.
        guard: Reads and writes the fleet's servers.
        store: The fleet's Pods.
    """

    def __init__(self, namespace: str, client: KubeClient, guard: Guard, store: Store) -> None:
        self._namespace = namespace
        self._client = client
        self._guard = guard
        self._store = store

    async def find(self) -> list[Stray]:
        """Return those of this fleet's servers, under whosever name they were made."""
        query = {"labelSelector": f"{FLEET},{SESSION}"}
        found = []
        async for shown in self._client.objects(leases(self._namespace), query):
            registration = registration_of(shown)
            # What is none was not made by podfleet, whatever its labels say.
            if registration is not None and self._serves_nobody(registration):
                due = time.monotonic() + _AFTER
                found.append(Stray(labels_of(shown)[FLEET], registration, due))
        return found

    async def end(self, strays: list[Stray], deadline: float) -> None:
        """Remove those that serve nobody still.

        Args:
            strays: What `find` returned.
            deadline: Seconds on a clock that never goes back; what is not due by then stays.
        """
        for stray in strays:
            if stray.due > deadline:
                continue
            await asyncio.sleep(max(0.0, stray.due - time.monotonic()))
            claims = Claims(stray.fleet, self._namespace, self._guard, self._store)

            async def carry_out(step: protocol.Step, claims: Claims = claims) -> Any:
                return await claims.carry_out(step, Claim())

            await protocol.drive(protocol.settle(stray.registration), carry_out)

    def _serves_nobody(self, registration: Registration) -> bool:
        """Return whether it is of a server of this fleet that has not its session."""
        pod = self._store.get(registration.candidate.name)
        return (
            pod is not None
            and uid_of(pod) == registration.candidate.uid
            and registration.session not in sessions_of(pod)
        )
