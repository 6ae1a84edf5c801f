"""`Allocation`: one call of ``allocate``, from nothing to a claimed server, or to nothing left.

It carries out what `protocol` asks for. What if we die after each line? Before the claim: a
server that is still anybody's. After it: an allocated Pod with its session, which ``find`` returns.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from podfleet.errors import (
    AllocationError,
    AllocationTimeout,
    ApiError,
    Contended,
    Exhausted,
    PodfleetError,
    QuotaExceeded,
    RangeFull,
    WaitTimeout,
)
from podfleet.fleet.claiming import protocol
from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.claiming.refusals import why_not
from podfleet.fleet.claiming.registration import Registration
from podfleet.fleet.claiming.start import Start
from podfleet.fleet.core import Core
from podfleet.fleet.pool.free import Wish
from podfleet.model import Endpoint, GameServer, Manifest
from podfleet.model.manifest import annotations_of, name_of, uid_of
from podfleet.model.names import CLAIM
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.slots import sessions_of
from podfleet.waiters.reachable import until_reachable, until_resolved

__all__ = ["Allocation"]

_CONTENDED = 5  # lost races, after which they are the reason that is told
_LOST_PAUSE = 0.1  # seconds at most, where all have the same first choice
_CLEANUP_PATIENCE = 5.0  # seconds that an error waits for its Pod's deletion
_PROBE_MARGIN = 0.1  # seconds


class Allocation:
    """One call of ``allocate``.

    Args:
        core: The running fleet.
        claim: What to write on the server.
        wish: Which server it is to be.
        timeout: Seconds, for everything together.
        reservation: A server that was reserved for this.
    """

    def __init__(
        self,
        core: Core,
        claim: Claim,
        wish: Wish,
        timeout: float,
        reservation: GameServer | None = None,
    ) -> None:
        self._core = core
        self._claim = claim
        self._wish = wish
        self._reservation = reservation
        self._timeout = timeout
        self._deadline = asyncio.get_running_loop().time() + timeout
        self._start = Start(core, claim, self._deadline)
        self._hand: Manifest | None = None
        self._endpoints: tuple[Endpoint, ...] = ()
        self._registration: Registration | None = None
        self._taking: Manifest | None = None
        self._lost = 0

    async def run(self) -> tuple[Manifest, tuple[Endpoint, ...]]:
        """Return a claimed, ready Pod and its endpoints.

        Raises:
            PodfleetError: Nothing was allocated, and nothing is left behind.
        """
        try:
            return await self._within_time()
        except BaseException:
            await self._clean_up()
            raise
        finally:
            self._let_go()

    async def _within_time(self) -> tuple[Manifest, tuple[Endpoint, ...]]:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._claimed()
        except WaitTimeout as error:  # the probe's; both it and the next are TimeoutErrors
            raise AllocationTimeout(f"fleet {self._core.spec.name}: {error}") from error
        except TimeoutError as error:
            if isinstance(error, AllocationError):
                raise
            raise await self._timed_out() from None
        except (QuotaExceeded, RangeFull) as error:
            raise Exhausted(f"fleet {self._core.spec.name}: {error}") from error

    async def _claimed(self) -> tuple[Manifest, tuple[Endpoint, ...]]:
        if self._claim.session is None:
            claiming = protocol.claim_any(self._claim)
        else:
            claiming = protocol.claim_for_session(self._claim)
        pod = await protocol.drive(claiming, self._carry_out)
        self._core.free.width.won()
        if self._hand is None or name_of(pod) != name_of(self._hand):
            return pod, await self._core.exposer.until_exposed(pod, fresh=True)
        return pod, await self._exposed_by_claim(self._hand, pod) or self._endpoints

    async def _carry_out(self, step: protocol.Step) -> Any:
        match step:
            case protocol.Choose():
                if self._hand is not None:
                    await self._lose()
                return await self._choose()
            case protocol.Return():
                await self._clean_up()
                return None
            case protocol.Take(pod, _):
                self._taking = pod
        answer = await self._core.claims.carry_out(step, self._claim)
        if isinstance(step, protocol.Register):
            self._registration = answer
        return answer

    async def _choose(self) -> Manifest:
        """Return a server that is held, exposed and answers; or the session's own."""
        while True:
            if (pod := self._core.claims.shown(self._claim.session)) is not None:
                return pod
            pod = await self._obtain()
            if self._claim.session in sessions_of(pod):
                return pod
            self._hand = pod
            endpoints = await self._exposed(pod)
            if endpoints is not None:
                self._endpoints = endpoints
                await self._probe(endpoints)
                return pod

    async def _obtain(self) -> Manifest:
        core = self._core
        if self._reservation is not None:
            return await self._reserved(self._reservation)
        if core.replicas is not None:
            pod = await core.replicas.obtain(core.free.held)
            core.free.hold(name_of(pod))
            return pod
        would_do = core.spec.makes_any(self._wish.selectors)
        pod = (core.adopt() if would_do else None) or await core.line.wait(
            self._wish, self._claim.session, self._start.ready if would_do else None
        )
        if self._start.server != name_of(pod):
            self._start.clean_up()  # another was free sooner
        return pod

    async def _reserved(self, reservation: GameServer) -> Manifest:
        pod = self._core.store.get(reservation.name)
        if pod is None or uid_of(pod) != reservation.uid:
            pod = await self._core.read(reservation.name)
        held = reservation.annotations.get(CLAIM)
        if (
            pod is None
            or uid_of(pod) != reservation.uid
            or claim_state(pod) is not ClaimState.RESERVED
            or annotations_of(pod).get(CLAIM) != held
        ):
            raise AllocationError(
                f"{reservation.namespace}/{reservation.name}: its reservation is over: allocate "
                "without it"
            )
        self._core.free.hold(reservation.name)
        return pod

    async def _lose(self) -> None:
        """Go on after another replica was faster."""
        self._lost += 1
        self._core.free.width.lost()
        self._let_go()
        if self._core.replicas is not None:
            # Of a StatefulSet's servers the lowest is everybody's first choice.
            await asyncio.sleep(random.uniform(0, _LOST_PAUSE))

    async def _exposed(self, pod: Manifest) -> tuple[Endpoint, ...] | None:
        """Return the endpoints; ``None`` if the server cannot have its numbers: it is gone."""
        try:
            endpoints = await self._core.exposer.until_exposed(pod)
        except ApiError as error:
            if not self._core.spec.exposure.refused(error):
                raise
            # Its starter was killed before it had found out.
            self._core.abandon(name_of(pod), self._claim)
            self._let_go()
            return None
        if self._core.spec.exposure.resolves:
            for host in {endpoint.host for endpoint in endpoints}:
                await until_resolved(host, self._left())
        return endpoints

    async def _exposed_by_claim(
        self, pod: Manifest, claimed: Manifest
    ) -> tuple[Endpoint, ...] | None:
        """Return the endpoints that the claim itself brought: those of the session's route.

        Die before they are there, and asking for the session again makes them.
        """
        wanted = self._core.spec.exposure.server_objects
        template = self._core.spec.template
        if wanted(claimed, template) == wanted(pod, template):
            return None
        return await self._core.exposer.until_exposed(claimed)

    async def _probe(self, endpoints: tuple[Endpoint, ...]) -> None:
        probe = self._core.spec.probe
        if probe is False:
            return
        payload = probe if isinstance(probe, bytes) else None
        for endpoint in endpoints:
            if payload is not None or "TCP" in endpoint.protocol.transports:
                await until_reachable(endpoint, self._left(), payload)

    def _left(self) -> float:
        """Return the seconds left, less a moment: what did not answer is the better word."""
        left = self._deadline - asyncio.get_running_loop().time() - _PROBE_MARGIN
        return max(left, _PROBE_MARGIN)

    def _let_go(self) -> None:
        if self._hand is not None:
            self._core.free.let_go(name_of(self._hand))
            if self._start.server == name_of(self._hand):
                self._start.server = None  # it is the caller's, or another's
        self._hand, self._taking, self._endpoints = None, None, ()
        self._core.line.serve()

    async def _clean_up(self) -> None:
        """Leave nothing: not now, and not when a write in flight is carried out late."""
        cleaning = self._start.clean_up()
        if cleaning is None and self._taking is not None:
            giving_up = self._core.claims.give_up(self._claim, self._taking, self._registration)
            cleaning = self._core.in_background(giving_up)
        self._let_go()
        if cleaning is not None:
            await asyncio.wait({cleaning}, timeout=_CLEANUP_PATIENCE)

    async def _timed_out(self) -> PodfleetError:
        """Return the error that says why the time was not enough."""
        if self._lost >= _CONTENDED:
            return Contended(
                f"fleet {self._core.spec.name}: no server within {self._timeout:.3g} s: "
                f"{self._lost} servers in turn were claimed by other callers first: try again"
            )
        hand = None if self._hand is None else name_of(self._hand)
        return await why_not(self._core, self._start, self._wish, hand, self._timeout)
