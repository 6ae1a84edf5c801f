"""`Hand`: one fleet's part in an allocation: a server of it, from free or not there to exposed."""

from __future__ import annotations

import asyncio
import logging

from podfleet.errors import AllocationError, ApiError, ServerFailed
from podfleet.fleet.claiming.claim import Candidate, Claim, Standing, is_claimable, standing
from podfleet.fleet.claiming.deadline import Deadline
from podfleet.fleet.claiming.start import Start
from podfleet.fleet.core import Core
from podfleet.fleet.pool.free import Wish
from podfleet.model import Endpoint, GameServer, Manifest, ServerState
from podfleet.model.manifest import annotations_of, name_of, uid_of
from podfleet.model.names import CLAIM
from podfleet.model.server import ClaimState, claim_state, server_state
from podfleet.model.slots import sessions_of
from podfleet.phase import AllocationPhase
from podfleet.waiters.lifeline import Lifeline
from podfleet.waiters.reachable import until_reachable, until_resolved
from podfleet.waiters.watching import is_deleted

__all__ = ["Hand"]

_log = logging.getLogger(__name__)

_PROBE_MARGIN = 0.1  # seconds


class Hand:
    """What an allocation has of one fleet: the server that it is about to claim.

    Args:
        core: The running fleet.
        claim: What to write on the server.
        wish: Which server it is to be.
        deadline: The allocation's.
    """

    def __init__(self, core: Core, claim: Claim, wish: Wish, deadline: Deadline) -> None:
        self.core = core
        self.wish = wish
        self.start = Start(core, claim, deadline)
        self.may_start = asyncio.Event()
        """Set when it is this fleet's turn to start a server, if none is free."""
        self.pod: Manifest | None = None
        self.endpoints: tuple[Endpoint, ...] = ()
        self._phase: AllocationPhase | None = None  # of the server in hand
        self.confirmed: Manifest | None = None
        """The session's own server, as it was read when that was found."""
        self._claim = claim
        self._deadline = deadline

    def free(self) -> Manifest | None:
        """Return a server that is free now, held; ``None`` if none is."""
        core = self.core
        if core.replicas is not None or core.gate.since is not None:
            return None  # a drained fleet may have been reopened: `obtain` asks
        return (core.adopt() if self._would_do else None) or core.free.take(self.wish)

    async def obtain(self) -> Manifest:
        """Return a server, held, as soon as there is one; or the session's own.

        Raises:
            PodfleetError: There will be none: the fleet is drained, or what it starts fails.
        """
        core = self.core
        if core.replicas is not None:
            pod = await core.replicas.obtain(core.free.held)
            core.free.hold(name_of(pod))
            return pod
        if core.gate.since is not None:
            await core.gate.enter()
        start = self._started if self._would_do else None
        pod = await core.line.wait(self.wish, self._claim.session, start, self._confirm)
        if self.start.server != name_of(pod):
            self.start.clean_up()  # another was free sooner
        return pod

    async def reserved(self, reservation: GameServer, *, fresh: bool = False) -> Manifest:
        """Return the server that was reserved, held.

        Args:
            reservation: What `reserve` returned.
            fresh: Read it from the API server, not from what the watch has shown.

        Raises:
            AllocationError: The reservation is over: no try will bring it back.
        """
        pod: Manifest | None = None
        if reservation.namespace == self.core.namespace:
            pod = None if fresh else self.core.store.get(reservation.name)
            if pod is None or _why_over(pod, reservation) is not None:
                pod = await self.core.read(reservation.name)
        why = _why_over(pod, reservation)
        if why is not None or pod is None:
            raise AllocationError(
                f"{reservation.namespace}/{reservation.name}: its reservation is over: {why}: "
                "allocate without it"
            )
        self.core.free.hold(reservation.name)
        return pod

    async def expose(self, pod: Manifest) -> bool:
        """Have a server in hand, exposed and answering.

        Args:
            pod: The server.

        Returns:
            Whether it is; not if it cannot have its numbers, or is deleted: then it is on its way
            out.

        Raises:
            ServerFailed: It has ended meanwhile, or fails.
        """
        self.pod = pod
        self._phase = AllocationPhase.ENDPOINT
        try:
            async with Lifeline(self.core.client, self.core.store, pod):
                return await self._exposed(pod)
        except ServerFailed as error:
            if self.start.server == name_of(pod) or not is_deleted(error):
                raise
            self.let_go()
            return False

    async def _exposed(self, pod: Manifest) -> bool:
        spec = self.core.spec
        try:
            self.endpoints = await self.core.exposer.until_exposed(pod)
        except ApiError as error:
            if not spec.exposure.refused(error):
                raise
            # Its starter was killed before it had found out.
            self._give_up(pod)
            return False
        except ServerFailed as error:
            may_be_another = self.core.replicas is None and is_claimable(pod)
            if self.start.server == name_of(pod) or not may_be_another:
                raise
            _log.warning("%s", error, extra=self.core.about(name_of(pod)))
            self._give_up(pod)
            return False
        self._phase = AllocationPhase.PROBE
        if spec.exposure.resolves:
            for host in {endpoint.host for endpoint in self.endpoints}:
                await until_resolved(host, self._left)
        await self._probe()
        self._phase = AllocationPhase.CLAIM
        return True

    async def exposed_by_claim(self, claimed: Manifest) -> tuple[Endpoint, ...]:
        """Return the endpoints, those that the claim itself brought included: a session's route.

        Die before they are there, and asking for the session again makes them.
        """
        # Of the Pod as it is now; what was read just now of all else counts.
        self._phase = AllocationPhase.ENDPOINT
        return await self.core.exposer.until_exposed(claimed)

    def _give_up(self, pod: Manifest) -> None:
        """Have a server removed that nobody can have."""
        self.core.abandon(name_of(pod), self._claim)
        self.let_go()

    def let_go(self) -> None:
        """Have others take the server, if nobody has."""
        if self.pod is not None:
            self.core.free.let_go(name_of(self.pod))
            if self.start.server == name_of(self.pod):
                self.start.server = None  # it is the caller's, or another's
        self.pod, self.endpoints, self._phase = None, (), None
        self.core.line.serve()

    def give_back(self, pod: Manifest) -> None:
        """Have others take a server that was obtained, and is not claimed."""
        if self._claim.session not in sessions_of(pod):
            self.core.free.let_go(name_of(pod))

    @property
    def phase(self) -> AllocationPhase:
        """How far it is."""
        return self._phase or self.start.phase or AllocationPhase.QUEUE

    @property
    def _would_do(self) -> bool:
        """Whether a server that the fleet's template makes is one that is wished for."""
        return self.core.spec.makes_any(self.wish.selectors)

    async def _started(self) -> Manifest:
        await self.may_start.wait()
        return await self.start.ready()

    async def _confirm(self, pod: Manifest) -> Manifest | None:
        """Return a server that the watch showed as the session's, as it is now; ``None``: it was.

        What this call has started is given up for it, so this very look counts: see `Allocation`.
        """
        assert self._claim.session is not None
        self.confirmed = await self.core.claims.serving(Candidate.of(pod), self._claim.session)
        return self.confirmed

    async def _probe(self) -> None:
        probe = self.core.spec.probe
        if probe is False:
            return
        payload = probe if isinstance(probe, bytes) else None
        for endpoint in self.endpoints:
            if payload is not None or "TCP" in endpoint.protocol.transports:
                await until_reachable(endpoint, self._left, payload)

    @property
    def _left(self) -> float:
        """The seconds left, less a moment: what did not answer is the better word."""
        return max(self._deadline.left - _PROBE_MARGIN, _PROBE_MARGIN)


def _why_over(pod: Manifest | None, reservation: GameServer) -> str | None:
    """Return why a reservation holds its server no more, by what is seen; ``None``: it does."""
    if pod is None or uid_of(pod) != reservation.uid:
        return "its server is gone"
    if pod["metadata"].get("deletionTimestamp"):
        return "its server is being deleted"
    if server_state(pod, ready=True) is ServerState.ENDED:
        return "its server has ended"
    state = claim_state(pod)
    if state is not ClaimState.RESERVED:
        taken = state is ClaimState.ALLOCATED
        return "its server is allocated" if taken else "it was given back"
    if annotations_of(pod).get(CLAIM) != reservation.annotations.get(CLAIM):
        return "another caller has reserved its server since"
    if standing(pod, Candidate.of(pod), "") is Standing.OVER:
        return "its server has ended"
    return None
