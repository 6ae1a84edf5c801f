"""How a caller comes to its server: what to ask of the cluster next. No I/O.

Each function is a generator that yields one step and is sent its answer. Any number of callers in
any number of processes run it at once, over stale stores, and may be killed between two steps;
the state machine in the tests runs them in every order it finds.

Why a session has one server: it is claimed only on the candidate that its registration names, of
which the API server lets only one be made; and a registration is struck only when its candidate
is over for ever, late claims included (`Standing.OVER`). Whoever meets another's registration
finishes that claim instead of waiting for it: if its maker was killed, nothing is stuck.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from attrs import frozen

from podfleet.fleet.claiming.claim import Candidate, Claim, Standing, standing
from podfleet.fleet.claiming.registration import Registration
from podfleet.model import Manifest
from podfleet.model.manifest import uid_of
from podfleet.model.slots import sessions_of
from podfleet.waiters.diagnosis import is_ready

__all__ = [
    "Choose",
    "Claiming",
    "Discard",
    "Fence",
    "GivingUp",
    "Read",
    "Register",
    "Return",
    "Step",
    "Strike",
    "Take",
    "claim_any",
    "claim_for_session",
    "drive",
    "give_up",
    "settle",
]


_T = TypeVar("_T")


@frozen
class Choose:
    """Wait for a server that can be claimed, or one that seems to be the session's."""


@frozen
class Return:
    """Let others have a chosen server, as the session has another: that is returned now."""

    pod: Manifest


@frozen
class Register:
    """Make a session's registration; answered with the one there is, ``None`` if it went."""

    session: str
    candidate: Candidate
    slots: int


@frozen
class Strike:
    """Delete a registration whose candidate is over."""

    registration: Registration


@frozen
class Read:
    """Read a candidate's Pod; answered with it, or ``None``."""

    candidate: Candidate


@frozen
class Take:
    """Claim a Pod if it has had no other turn; answered with the Pod as it is now, or ``None``."""

    pod: Manifest
    slots: int


@frozen
class Fence:
    """Give an unclaimed Pod another turn, so that a claim still on its way is refused.

    Answered with the Pod as it is now, or ``None``.
    """

    pod: Manifest


@frozen
class Discard:
    """Delete a Pod that is claimed and cannot serve, or serves nobody; if shared, leave it."""

    pod: Manifest


Step = Choose | Return | Register | Strike | Read | Take | Fence | Discard
Claiming = Generator[Step, Any, Manifest]
"""Yields steps, is sent their answers, and returns the claimed Pod."""

GivingUp = Generator[Step, Any, None]
"""Yields steps and is sent their answers."""


async def drive(steps: Generator[Step, Any, _T], carry_out: Callable[[Step], Awaitable[Any]]) -> _T:
    """Have steps carried out, one after the other; return what they return."""
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as stop:
            returned: _T = stop.value
            return returned
        answer = await carry_out(step)


def claim_any(claim: Claim) -> Claiming:
    """Claim a server for nobody in particular."""
    while True:
        pod: Manifest = yield Choose()
        taken: Manifest | None = yield Take(pod, claim.slots)
        if taken is not None and claim.holds(taken):
            if is_ready(taken):
                return taken
            yield Discard(taken)  # it fell ill between the last event and the claim


def claim_for_session(claim: Claim) -> Claiming:
    """Claim a server for a session, or return the one that has been claimed for it."""
    assert claim.session is not None
    while True:
        pod: Manifest = yield Choose()
        served: Manifest | None
        if claim.session in sessions_of(pod):
            # Another caller was faster: the watch showed it. But it may show what has been.
            served = yield Read(Candidate.of(pod))
            if standing(served, Candidate.of(pod), claim.session) is Standing.SERVES:
                assert served is not None
                return served
            continue
        while True:
            registration = yield Register(claim.session, Candidate.of(pod), claim.slots)
            if registration is None:
                continue  # another's went just then, with its server: this one is not given up
            served = yield from _finish(claim, registration, pod)
            if served is not None:
                return served
            yield Strike(registration)
            if registration.candidate == Candidate.of(pod):
                break  # the one that was chosen is lost: choose again


def _finish(
    claim: Claim, registration: Registration, chosen: Manifest
) -> Generator[Step, Any, Manifest | None]:
    """Return the Pod that serves a registered session, claimed by whomever; ``None``: over.

    Args:
        claim: What to write, unless another caller has.
        registration: The session's.
        chosen: The server that this caller chose.
    """
    candidate = registration.candidate
    pod: Manifest | None = chosen
    if candidate != Candidate.of(chosen):
        pod = yield Read(candidate)
    while True:
        match standing(pod, candidate, registration.session):
            case Standing.OVER:
                return None
            case Standing.SERVES:
                assert pod is not None
                if claim.holds(pod) and not is_ready(pod):
                    yield Discard(pod)  # it fell ill between the last event and the claim
                    pod = yield Read(candidate)
                    continue
                if uid_of(pod) != uid_of(chosen):
                    yield Return(chosen)
                return pod
            case Standing.OPEN:
                assert pod is not None
                pod = yield Take(pod, registration.slots)


def give_up(claim: Claim, pod: Manifest, registration: Registration | None) -> GivingUp:
    """See to it that a claim whose outcome is not known holds nothing, now or later.

    A session's server stays: whoever asks for the session again is to find it, and another
    caller may have been given it already.

    Args:
        claim: The claim.
        pod: The Pod that it was to have, as it was seen.
        registration: The session's, if it is known to have been made.
    """
    candidate = Candidate.of(pod)
    shown = yield Read(candidate)
    while shown is not None and uid_of(shown) == candidate.uid:
        if claim.holds(shown):
            if claim.session is None:
                yield Discard(shown)
            return
        if Candidate.of(shown) != candidate:
            break
        shown = yield Fence(shown)
    if registration is None or registration.candidate != candidate:
        return
    # Another caller may have finished the claim: then the registration is that one's.
    if standing(shown, candidate, registration.session) is Standing.OVER:
        yield Strike(registration)


def settle(registration: Registration) -> GivingUp:
    """See to it that a registration whose maker was killed does not stay for nothing.

    It stays if its session has the server. A maker that lives, and is slow, chooses again.

    Args:
        registration: A session's.
    """
    candidate = registration.candidate
    pod: Manifest | None = yield Read(candidate)
    while (now := standing(pod, candidate, registration.session)) is Standing.OPEN:
        assert pod is not None
        pod = yield Fence(pod)
    if now is Standing.OVER:
        yield Strike(registration)
