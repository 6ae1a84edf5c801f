"""`Allocation`: one call of ``allocate``, from nothing to a claimed server, or to nothing left.

It carries out what `protocol` asks for. What if we die after each line? Before the claim: a
server that is still anybody's. After it: an allocated Pod with its session, which ``find`` returns.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from podfleet.chance import CHANCE
from podfleet.errors import (
    AdmissionRefused,
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
from podfleet.fleet.claiming.claim import Candidate, Claim
from podfleet.fleet.claiming.deadline import Deadline
from podfleet.fleet.claiming.hand import Hand
from podfleet.fleet.claiming.losing import Loss, told, why_lost
from podfleet.fleet.claiming.members import Members
from podfleet.fleet.claiming.refusals import LastLook, about_pod, timed_out, why_not
from podfleet.fleet.claiming.registration import Registration
from podfleet.fleet.pool.free import Wish
from podfleet.kube.progress import on_its_own
from podfleet.kube.retry import Backoff
from podfleet.model import Endpoint, GameServer, Manifest
from podfleet.model.manifest import name_of
from podfleet.model.names import FLEET
from podfleet.model.slots import sessions_of
from podfleet.phase import AllocationPhase
from podfleet.waiters.lifeline import Lifeline

__all__ = ["Allocation"]

_CONTENDED = 5  # lost races, after which they are the reason that is told
_LOST_PAUSE = 0.1  # seconds at most, where all have the same first choice
_PACE = (0.01, 1.0)  # seconds, doubled, between the rounds of a call that loses again and again
_UNPACED = 6  # choices and registrations without a pause: mostly there is one of each
_CLEANUP_PATIENCE = 5.0  # seconds that an error waits for its Pod's deletion, if there are as many
_LOOK_BEFORE = (1.0, 0.2)  # seconds, or a share of the time: so early the last look begins
_LOOK_PATIENCE = 0.15  # seconds after the end that its answers are waited for
_STUCK = 1.0  # seconds for which a request that is not answered is a better reason than lost races


class Allocation:
    """One call of ``allocate``.

    Args:
        members: The fleets, the first one first.
        claim: What to write on the server.
        wish: Which server it is to be.
        deadline: For everything together.
        reservation: A server that was reserved for this.
    """

    def __init__(
        self,
        members: Members,
        claim: Claim,
        wish: Wish,
        deadline: Deadline,
        reservation: GameServer | None = None,
    ) -> None:
        self._members = members
        self._claim = claim
        self._reservation = reservation
        self._deadline = deadline
        self._hands = [Hand(core, claim, wish, self._deadline) for core in members.cores]
        self._hands[0].may_start.set()
        self._hand: Hand | None = None  # the one with the server that is about to be claimed
        self._registration: Registration | None = None
        self._registering: Manifest | None = None
        self._sent: asyncio.Future[Registration | None] | None = None
        self._taking: Manifest | None = None
        self._denied = False  # the claim was refused by an admission check, and so not written
        self._backoff = Backoff(_PACE, free=_UNPACED)
        self._losses: Counter[Loss] = Counter()
        self._claiming = False  # when the time is up, whether it was in the claim
        self._look: LastLook | None = None
        self._looking: asyncio.Task[None] | None = None

    async def run(self) -> tuple[Manifest, tuple[Endpoint, ...]]:
        """Return a claimed, ready Pod and its endpoints.

        Raises:
            PodfleetError: Nothing was allocated, and nothing is left behind.
        """
        try:
            return await self._within_time()
        except asyncio.CancelledError:
            await self._clean_up(_CLEANUP_PATIENCE)
            raise
        except BaseException:
            await self._clean_up(min(_CLEANUP_PATIENCE, self._deadline.grace))
            raise
        finally:
            self._let_go()

    @property
    def lost_races(self) -> int:
        """How many servers other callers claimed first."""
        return self._losses[Loss.CLAIMED]

    @property
    def started(self) -> bool:
        """Whether a server was started for this call."""
        return any(hand.start.begun for hand in self._hands)

    async def _within_time(self) -> tuple[Manifest, tuple[Endpoint, ...]]:
        early, share = _LOOK_BEFORE
        before = min(early, share * self._deadline.timeout)
        loop = asyncio.get_running_loop()
        look = loop.call_at(self._deadline.at - before, self._begin_to_look, context=on_its_own())
        try:
            async with asyncio.timeout_at(self._deadline.at):
                return await self._claimed()
        except WaitTimeout as error:  # the probe's; both it and the next are TimeoutErrors
            said = f"{self._members.name}: {error}"
            raise AllocationTimeout(said, phase=AllocationPhase.PROBE) from error
        except TimeoutError as error:
            if isinstance(error, AllocationError):
                raise
            raise await self._timed_out() from None
        except (QuotaExceeded, RangeFull) as error:
            raise Exhausted(f"{self._members.name}: {error}") from error
        finally:
            look.cancel()
            if self._looking is not None:
                self._looking.cancel()

    def _begin_to_look(self) -> None:
        """Look at the server shortly before the time is up: after it there is none for that."""
        hand = self._furthest
        server = hand.start.server if hand.pod is None else name_of(hand.pod)
        server = server or hand.core.free.expected
        if server is not None:
            self._look = LastLook(hand.core, server)
            self._looking = asyncio.ensure_future(self._look.take())
        elif hand.core.replicas is not None:
            self._looking = asyncio.ensure_future(hand.core.replicas.look_for_denial())

    @property
    def _furthest(self) -> Hand:
        """The fleet's part that came furthest."""
        started = (hand for hand in self._hands if hand.start.server is not None)
        return self._hand or next(started, self._hands[0])

    async def _claimed(self) -> tuple[Manifest, tuple[Endpoint, ...]]:
        if self._claim.session is None:
            claiming = protocol.claim_any(self._claim)
        else:
            claiming = protocol.claim_for_session(self._claim)
        pod = await protocol.drive(claiming, self._carry_out)
        core = self._members.of(pod)
        core.free.choice.won()
        hand = self._hand
        async with Lifeline(core.client, core.store, pod, in_match=True):
            if hand is None or hand.pod is None or name_of(pod) != name_of(hand.pod):
                return pod, await core.exposer.until_exposed(pod, fresh=True)
            return pod, await hand.exposed_by_claim(pod)

    async def _carry_out(self, step: protocol.Step) -> Any:
        match step:
            case protocol.Choose():
                if self._hand is not None:
                    await self._lose(self._hand)
                await self._backoff.wait()
                return await self._choose()
            case protocol.Return():
                await self._clean_up(_CLEANUP_PATIENCE)
                return None
            case protocol.Register():
                await self._backoff.wait()
                return await self._register(step)
            case protocol.Read(candidate) if (known := self._confirmed(candidate)) is not None:
                return known
            case protocol.Take(pod, _):
                self._taking = pod
        self._claiming = True
        try:
            answer = await self._members.claims.carry_out(step, self._claim)
        except ApiError as error:
            self._denied = isinstance(error, AdmissionRefused) and not error.unsure
            if error.nothing_written and self._registration is None:
                self._taking = None  # nothing to give up
            raise
        self._claiming = False
        return answer

    def _confirmed(self, candidate: Candidate) -> Manifest | None:
        """Return a server that was just read as the session's: once, a later look is a new one."""
        for hand in self._hands:
            known, hand.confirmed = hand.confirmed, None
            if known is not None and Candidate.of(known) == candidate:
                return known
        return None

    async def _register(self, step: protocol.Register) -> Registration | None:
        self._registering = None if self._hand is None else self._hand.pod
        # Not cancelled with us: carried out late, it would stay behind our back.
        self._sent = asyncio.ensure_future(self._members.claims.carry_out(step, self._claim))
        self._sent.add_done_callback(_see)  # where its Pod is deleted anyway, nobody asks
        self._claiming = True
        try:
            self._registration = await asyncio.shield(self._sent)
        except ApiError as error:
            if error.nothing_written:
                self._registering, self._sent = None, None
            raise
        self._claiming = False
        self._registering, self._sent = None, None
        return self._registration

    async def _choose(self) -> Manifest:
        """Return a server that is held, exposed and answers; or the session's own."""
        while True:
            if (pod := self._members.claims.shown(self._claim.session)) is not None:
                return pod
            hand, pod = await self._obtain()
            if self._claim.session in sessions_of(pod):
                return pod
            self._hand = hand
            if await hand.expose(pod):
                return pod
            self._hand = None
            await self._backoff.wait()

    async def _obtain(self) -> tuple[Hand, Manifest]:
        """Return a server, held, of the first fleet that has one free; else the next there is."""
        if self._reservation is not None:
            hand = self._hand_of(self._reservation)
            return hand, await hand.reserved(self._reservation, fresh=bool(self._losses))
        for hand in self._hands:
            if (pod := hand.free()) is not None:
                return hand, pod
        if len(self._hands) == 1:
            return self._hands[0], await self._hands[0].obtain()
        return await self._first()

    def _hand_of(self, reservation: GameServer) -> Hand:
        fleet = reservation.labels.get(FLEET)
        for hand in self._hands:
            if hand.core.spec.name == fleet:
                return hand
        raise AllocationError(
            f"{reservation.namespace}/{reservation.name}: it is a server of fleet {fleet}, not of "
            f"{self._members.name}: allocate it there"
        )

    async def _first(self) -> tuple[Hand, Manifest]:
        """Wait in every fleet's line at once; one of them may start a server.

        Raises:
            PodfleetError: What the first fleet said, if none of them can.
        """
        for hand in self._hands[1:]:
            hand.may_start.clear()
        waiting: dict[asyncio.Future[Manifest], Hand] = {
            asyncio.ensure_future(hand.obtain()): hand for hand in self._hands
        }
        try:
            winner, pod = await _fastest(dict(waiting))
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        for task, hand in waiting.items():
            if hand is not winner:
                if not task.cancelled() and task.exception() is None:
                    hand.give_back(task.result())
                hand.start.clean_up()
        return winner, pod

    async def _lose(self, hand: Hand) -> None:
        """Go on after the server in hand could not be had: mostly another replica was faster."""
        assert hand.pod is not None
        loss = why_lost(hand.pod, hand.core.store.get(name_of(hand.pod)), self._claim)
        self._losses[loss] += 1
        if loss is Loss.CLAIMED:
            hand.core.free.choice.lost()
            hand.core.tally.lost_race()
        self._let_go()
        if hand.core.replicas is not None:
            # Of a StatefulSet's servers the lowest is everybody's first choice.
            await asyncio.sleep(CHANCE.uniform(0, _LOST_PAUSE))

    def _let_go(self) -> None:
        self._hand, self._registering, self._taking = None, None, None
        for hand in self._hands:
            hand.let_go()

    async def _clean_up(self, patience: float) -> None:
        """Leave nothing: not now, and not when a write in flight is carried out late.

        Args:
            patience: Seconds to wait for it; it goes on.
        """
        cleaning = {task for hand in self._hands if (task := hand.start.clean_up()) is not None}
        unsure = self._taking or self._registering
        if self._denied and self._claim.session is None:
            unsure = None  # nothing was written
        if not cleaning and unsure is not None:
            giving_up = self._give_up(unsure, self._registration, self._sent)
            cleaning = {self._members.of(unsure).in_background(giving_up)}
        self._let_go()
        if cleaning:
            await asyncio.wait(cleaning, timeout=patience)

    async def _give_up(
        self,
        unsure: Manifest,
        registration: Registration | None,
        sent: asyncio.Future[Registration | None] | None,
    ) -> None:
        """See to it that nothing is left of the claim, once it is known what was registered."""
        if sent is not None:
            try:
                registration = await sent
            except PodfleetError:
                registration = None  # whether there is one is looked up
        await self._members.claims.give_up(self._claim, unsure, registration, denied=self._denied)

    async def _timed_out(self) -> PodfleetError:
        """Return the error that says why the time was not enough."""
        if self._losses.total() >= _CONTENDED and self._deadline.progress.stuck < _STUCK:
            return Contended(
                f"{self._members.name}: no server within {self._deadline.timeout:.3g} s: "
                f"{told(self._losses)}: try again"
            )
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=_LOOK_PATIENCE)
        hand, deadline = self._furthest, self._deadline
        if self._claiming:
            unsure = self._taking or self._registering
            said = "" if unsure is None else f": {about_pod(unsure)}"
            who = f"{self._members.name}{said}"
            return timed_out(deadline, who, AllocationPhase.CLAIM, "it was being claimed")
        return why_not(hand, deadline, self._look)


def _see(sent: asyncio.Future[Any]) -> None:
    """Have asyncio not complain of an error that nobody waits for."""
    if not sent.cancelled():
        sent.exception()


async def _fastest(waiting: dict[asyncio.Future[Manifest], Hand]) -> tuple[Hand, Manifest]:
    """Return the first fleet that has a server; if one cannot start any, the next one may.

    Args:
        waiting: The fleets, in order.
    """
    errors: list[PodfleetError] = []
    while waiting:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in [one for one in waiting if one in done]:
            hand = waiting.pop(task)
            try:
                return hand, task.result()
            except PodfleetError as error:
                hand.start.clean_up()
                errors.append(error)
        for hand in list(waiting.values())[:1]:
            hand.may_start.set()
    first, *others = errors
    for other in others:
        first.add_note(f"and: {other}")
    raise first
