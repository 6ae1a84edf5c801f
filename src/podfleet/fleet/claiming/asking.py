"""`Asking`: calls of ``allocate`` in one event loop; those for one session come one by one."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import NamedTuple

from podfleet.errors import AllocationTimeout, ServerFailed
from podfleet.fleet.claiming.allocation import Allocation
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.claiming.deadline import Deadline
from podfleet.fleet.claiming.members import Members
from podfleet.fleet.claiming.refusals import about_pod, timed_out
from podfleet.fleet.claiming.turns import Turns
from podfleet.fleet.pool.free import Wish
from podfleet.fleet.trace import Attributes, of_pod
from podfleet.log import about
from podfleet.model import Endpoint, GameServer, Manifest
from podfleet.model.manifest import name_of
from podfleet.phase import AllocationPhase
from podfleet.waiters.lifeline import Lifeline

__all__ = ["Allocated", "Asking"]

_log = logging.getLogger(__name__)


class Allocated(NamedTuple):
    """A claimed Pod, its endpoints, and how it was come by.

    Args:
        pod: The Pod.
        endpoints: Its endpoints.
        warm: Whether no server was started for this call.
        lost_races: How many servers other callers claimed first.
    """

    pod: Manifest
    endpoints: tuple[Endpoint, ...]
    warm: bool
    lost_races: int = 0

    @property
    def attributes(self) -> Attributes:
        """What a span tells of it."""
        return {
            **of_pod(name_of(self.pod), str(self.pod["metadata"]["namespace"])),
            "podfleet.warm": self.warm,
            "podfleet.lost_races": self.lost_races,
        }


class Asking:
    """Answers calls of ``allocate``."""

    def __init__(self) -> None:
        self._sessions = Turns()

    async def allocate(
        self,
        members: Members,
        claim: Claim,
        wish: Wish,
        deadline: Deadline,
        reservation: GameServer | None = None,
    ) -> Allocated:
        """Return a claimed server: the session's own, or a new one.

        Args:
            members: The fleets.
            claim: What to write on the server.
            wish: Which server it is to be.
            deadline: For everything together.
            reservation: A server that was reserved for this.
        """
        if claim.session is None:
            return await _allocated(members, claim, wish, deadline, reservation)
        async with AsyncExitStack() as stack:
            await self._alone(stack, members, claim.session, deadline)
            found = await _found(members, claim.session, deadline)
            return found or await _allocated(members, claim, wish, deadline, reservation)

    async def _alone(
        self, stack: AsyncExitStack, members: Members, session: str, deadline: Deadline
    ) -> None:
        """Have no other call for the session go on here before the stack is left."""
        try:
            async with asyncio.timeout_at(deadline.at):
                await stack.enter_async_context(self._sessions.turn(session))
        except TimeoutError:
            raise AllocationTimeout(
                f"{deadline.said(members.name)}: another call for session {session!r} was not done",
                phase=AllocationPhase.QUEUE,
            ) from None


async def _found(members: Members, session: str, deadline: Deadline) -> Allocated | None:
    """Return the server that a session has, if the watch has shown it."""
    if not members.claims.shown(session):
        return None
    pod = None
    try:
        async with asyncio.timeout_at(deadline.at):
            pod = await members.claims.find(session)
            if pod is None:
                return None
            # Its Service or route may have been deleted behind our back.
            core = members.of(pod)
            async with Lifeline(core.client, core.store, pod, in_match=True):
                endpoints = await core.exposer.until_exposed(pod, fresh=True)
    except ServerFailed:
        return None  # its match is over
    except TimeoutError:
        raise timed_out(
            deadline,
            members.name if pod is None else f"{members.name}: {about_pod(pod)}",
            AllocationPhase.CLAIM if pod is None else AllocationPhase.ENDPOINT,
            f"session {session!r} has a server, which was not read"
            if pod is None
            else f"it is the server of session {session!r}, and its endpoint was not known",
        ) from None
    return Allocated(pod, endpoints, warm=True)


async def _allocated(
    members: Members,
    claim: Claim,
    wish: Wish,
    deadline: Deadline,
    reservation: GameServer | None,
) -> Allocated:
    """Return a server that is claimed now: see `Asking.allocate`."""
    allocation = Allocation(members, claim, wish, deadline, reservation)
    pod, endpoints = await allocation.run()
    core = members.of(pod)
    _log.info(
        "%s/%s: allocated",
        core.namespace,
        name_of(pod),
        extra=core.about(name_of(pod)) | about(session=claim.session),
    )
    return Allocated(pod, endpoints, not allocation.started, allocation.lost_races)
