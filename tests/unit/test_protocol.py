"""The claim: replicas with stale stores over one truth, lost replies, late writes, crashes."""

import copy
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from podfleet.fleet.claiming import protocol
from podfleet.fleet.claiming.claim import (
    Candidate,
    Claim,
    Standing,
    has_room,
    is_claimable,
    share,
    standing,
    transition,
)
from podfleet.fleet.claiming.registration import Registration
from podfleet.local.objects.patches import json_patch
from podfleet.local.objects.statuses import Refusal
from podfleet.model.manifest import annotations_of, name_of, uid_of
from podfleet.model.names import CLAIM, SESSION, SLOTS, STATE
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.slots import free_slots, has_slots, sessions_of
from podfleet.waiters.diagnosis import is_ready

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SESSIONS = ("red", "blue")
FATES = st.sampled_from(["well", "well", "well", "well", "lost", "never", "late"])
ENOUGH = 300  # steps in which any caller that is left alone is done


def new_pod(name: str, uid: str, slots: int | None) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "metadata": {
            "name": name,
            "uid": uid,
            "labels": {STATE: ClaimState.UNCLAIMED.value},
        },
        "spec": {"containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    if slots is not None:
        pod["metadata"]["annotations"] = {SLOTS: str(slots)}
    return pod


class Truth:
    """The API server: Pods and registrations, written one after the other."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.registrations: dict[str, Registration] = {}
        self.made = 0
        self.slots: int | None = None

    def add(self, name: str | None = None) -> None:
        self.made += 1
        pod = new_pod(name or f"arena-{self.made}", f"uid-{self.made}", self.slots)
        # Every other one is of a StatefulSet: it comes back under its name.
        pod["spec"]["numbered"] = name is not None or self.made % 2 == 1
        self.pods[name_of(pod)] = pod

    def read(self, candidate: Candidate) -> dict[str, Any] | None:
        return copy.deepcopy(self.pods.get(candidate.name))

    def patch(self, seen: dict[str, Any], operations: list[dict[str, Any]]) -> None:
        pod = self.pods.get(name_of(seen))
        if pod is not None:
            with suppress(Refusal):  # a test failed: nothing is written
                self.pods[name_of(seen)] = json_patch(copy.deepcopy(pod), operations)

    def delete(self, seen: dict[str, Any]) -> None:
        pod = self.pods.get(name_of(seen))
        if pod is not None and uid_of(pod) == uid_of(seen):
            pod["metadata"]["deletionTimestamp"] = "2026-11-23T00:00:00Z"

    def leave(self, pod: dict[str, Any], session: str) -> None:
        left = {key: count for key, count in sessions_of(pod).items() if key != session}
        self.made += 1
        self.patch(pod, share(pod, left, f"change-{self.made}", NOW))

    def register(self, session: str, candidate: Candidate, slots: int) -> None:
        if session not in self.registrations:
            self.made += 1
            made = Registration(session, candidate, slots, f"uid-{self.made}")
            self.registrations[session] = made

    def strike(self, registration: Registration) -> None:
        found = self.registrations.get(registration.session)
        if found is not None and found.uid == registration.uid:
            del self.registrations[registration.session]

    def apply(self, step: protocol.Step, claim: Claim) -> None:
        """Carry a write out."""
        match step:
            case protocol.Register(session, candidate, slots):
                self.register(session, candidate, slots)
            case protocol.Strike(registration):
                self.strike(registration)
            case protocol.Take(pod, slots):
                self.patch(dict(pod), evolve(claim, slots=slots).patch(pod, NOW))
            case protocol.Fence(pod):
                self.patch(dict(pod), transition(pod, claim_state(pod) or ClaimState.UNCLAIMED))
            case protocol.Discard(pod) if has_slots(pod):
                while (
                    (shown := self.read(Candidate.of(pod)))
                    and uid_of(shown) == uid_of(pod)
                    and claim.has_slots_of(shown)
                ):
                    self.leave(shown, claim.key)
            case protocol.Discard(pod):
                self.delete(dict(pod))

    def arrive(self, step: protocol.Step, claim: Claim) -> None:
        """Carry out a write that was long on its way: nobody looks whether it was refused."""
        if isinstance(step, protocol.Discard) and has_slots(step.pod):
            self.leave(dict(step.pod), claim.key)
        else:
            self.apply(step, claim)

    def answer(self, step: protocol.Step) -> Any:
        """Return what is said to a read, or to a write that was carried out."""
        match step:
            case protocol.Read(candidate):
                return self.read(candidate)
            case protocol.Register(session):
                return self.registrations.get(session)
            case protocol.Take(pod, _) | protocol.Fence(pod):
                return self.read(Candidate.of(pod))
        return None


@define(eq=False)
class Caller:
    """One call of ``allocate``, or the clean-up after one."""

    replica: int
    claim: Claim
    running: Any
    step: Any = None
    hand: dict[str, Any] | None = None
    registration: Registration | None = None
    result: dict[str, Any] | None = None
    done: bool = False
    cleaning: bool = False
    over: dict[str, int] = field(factory=dict)
    """The UIDs of servers on which its session's match was ended, and the match's last turns."""

    def send(self, answer: Any) -> None:
        try:
            self.step = self.running.send(answer)
        except StopIteration as stop:
            self.result, self.done, self.step = stop.value, True, None
            self.forget()

    def end(self, match: Candidate) -> None:
        """Its match is ended: also if it has yet to return what it saw before that."""
        self.over[match.uid] = match.turn
        self.forget()

    def forget(self) -> None:
        if self.result is not None:
            mine = Candidate.of(self.result)
            if mine.turn <= self.over.get(mine.uid, -1):
                self.result = None


WRITES = (protocol.Register, protocol.Strike, protocol.Take, protocol.Fence, protocol.Discard)


class ClaimMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.truth = Truth()
        self.views: list[dict[str, dict[str, Any]]] = []
        self.callers: list[Caller] = []
        self.late: list[tuple[protocol.Step, Claim]] = []
        self.killed: list[Caller] = []
        self.claims = 0

    @initialize(
        pods=st.integers(1, 3), replicas=st.integers(1, 3), slots=st.sampled_from([None, 3])
    )
    def begin(self, pods: int, replicas: int, slots: int | None) -> None:
        self.truth.slots = slots
        for _ in range(pods):
            self.truth.add()
        self.views = [copy.deepcopy(self.truth.pods) for _ in range(replicas)]

    def claim(self, session: str | None = None, slots: int = 1) -> Claim:
        self.claims += 1  # no id by chance: a story told again goes as it went
        return Claim(session=session, slots=slots, id=f"{self.claims:032x}")

    @property
    def running(self) -> list[Caller]:
        return [caller for caller in self.callers if not caller.done]

    @rule(data=st.data(), session=st.sampled_from([None, *SESSIONS]), slots=st.integers(1, 2))
    def ask(self, data: st.DataObject, session: str | None, slots: int) -> None:
        claim = self.claim(session, 1 if self.truth.slots is None else slots)
        begun = protocol.claim_any(claim) if session is None else protocol.claim_for_session(claim)
        caller = Caller(data.draw(st.integers(0, len(self.views) - 1)), claim, begun)
        caller.send(None)
        self.callers.append(caller)

    @precondition(lambda self: self.truth.registrations)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Another replica takes a registration for one whose maker was killed, rightly or not."""
        session = data.draw(st.sampled_from(sorted(self.truth.registrations)))
        settling = protocol.settle(self.truth.registrations[session])
        caller = Caller(0, self.claim(), settling)
        caller.send(None)
        self.callers.append(caller)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), fate=FATES)
    def go_on(self, data: st.DataObject, fate: str) -> None:
        self.advance(data.draw(st.sampled_from(self.running)), fate, data)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), steps=st.integers(2, 8), fate=FATES)
    def hurry(self, data: st.DataObject, steps: int, fate: str) -> None:
        caller = data.draw(st.sampled_from(self.running))
        for step in range(steps):
            if not caller.done:
                self.advance(caller, "well" if step < steps - 1 else fate, data)

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def arrive_late(self, data: st.DataObject) -> None:
        late = data.draw(st.sampled_from(range(len(self.late))))
        self.arrive(late)

    @rule(data=st.data())
    def catch_up(self, data: st.DataObject) -> None:
        replica = data.draw(st.integers(0, len(self.views) - 1))
        self.views[replica] = copy.deepcopy(self.truth.pods)

    @rule(data=st.data(), how=st.sampled_from(["cancel", "kill"]))
    def end(self, data: st.DataObject, how: str) -> None:
        if self.running:
            caller = data.draw(st.sampled_from(self.running))
            self.fail(caller) if how == "cancel" else self.kill(caller)

    @rule(data=st.data(), how=st.sampled_from(["recycle", "release", "retire", "ill", "collect"]))
    def disturb(self, data: st.DataObject, how: str) -> None:
        if how == "collect":
            self.collect()
            return
        pod = data.draw(st.sampled_from(sorted(self.truth.pods.values(), key=name_of)))
        if how == "ill":
            pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
        elif how == "retire":
            self.retire_or_relent(pod)
        elif how == "recycle" and has_slots(pod):
            if sessions_of(pod):
                session = data.draw(st.sampled_from(sorted(sessions_of(pod))))
                for caller in self.callers:
                    if caller.claim.key == session:
                        caller.end(Candidate.of(pod))
                self.truth.leave(pod, session)
        elif claim_state(pod) is ClaimState.ALLOCATED:
            for caller in self.callers:
                caller.end(Candidate.of(pod))
            if how == "release":
                self.truth.delete(pod)
            else:
                notes = {SESSION: None, CLAIM: None}
                self.truth.patch(pod, transition(pod, ClaimState.UNCLAIMED, annotations=notes))

    def arrive(self, late: int) -> None:
        step, claim = self.late.pop(late)
        self.truth.arrive(step, claim)
        self.end_match(step, claim)

    def end_match(self, step: protocol.Step, claim: Claim) -> None:
        """Who claims a server for a session, and finds it ill, ends that match for all."""
        if not isinstance(step, protocol.Discard):
            return
        pod = self.truth.read(Candidate.of(step.pod))
        if pod is not None and claim.key not in sessions_of(pod):
            for caller in self.callers:
                if caller.claim.key == claim.key:
                    caller.end(Candidate.of(pod))

    def advance(self, caller: Caller, fate: str, data: st.DataObject | None = None) -> None:
        step = caller.step
        if isinstance(step, protocol.Choose):
            caller.hand = None
            pod = self.choose(caller, data)
            if pod is not None:
                served = caller.claim.session in sessions_of(pod)
                caller.hand = None if served else pod
                caller.send(pod)
            return
        if isinstance(step, protocol.Return):
            caller.hand = None
            caller.send(None)
            assert caller.done, "a ready server is thrown away"
            return
        if isinstance(step, WRITES) and fate != "well":
            if fate == "lost":
                self.truth.apply(step, caller.claim)
                self.end_match(step, caller.claim)
            elif fate == "late":
                self.late.append((step, caller.claim))
            self.fail(caller)
            return
        self.truth.apply(step, caller.claim)
        self.end_match(step, caller.claim)
        answer = self.truth.answer(step)
        if isinstance(step, protocol.Register):
            caller.registration = answer
        caller.send(answer)

    @property
    def meeting(self) -> list[Caller]:
        """The callers that are about to meet a registration whose server is over."""
        return [
            caller
            for caller in self.running
            if isinstance(caller.step, protocol.Register)
            and (found := self.truth.registrations.get(caller.step.session)) is not None
            and standing(self.truth.read(found.candidate), found.candidate, found.session)
            is Standing.OVER
        ]

    @precondition(lambda self: self.meeting)
    @rule(data=st.data())
    def go_when_met(self, data: st.DataObject) -> None:
        """A registration is in a caller's way, and is gone with its server when it is read."""
        caller = data.draw(st.sampled_from(self.meeting))
        self.truth.strike(self.truth.registrations[caller.step.session])
        caller.registration = None
        caller.send(None)
        assert isinstance(caller.step, protocol.Register), "a ready server is thrown away"

    def choose(self, caller: Caller, data: st.DataObject | None) -> dict[str, Any] | None:
        """Choose as a replica does, by what its watch has shown it."""
        view = self.views[caller.replica]
        taken = {
            name_of(other.hand)
            for other in self.callers
            if other.replica == caller.replica and other.hand is not None and not other.done
        }
        session = caller.claim.session
        for pod in view.values():
            alive = not pod["metadata"].get("deletionTimestamp")
            if session in sessions_of(pod) and alive:
                return copy.deepcopy(pod)
        free = [
            pod
            for name, pod in sorted(view.items())
            if has_room(pod, caller.claim.slots) and is_ready(pod) and name not in taken
        ]
        if not free:
            return None
        chosen = data.draw(st.sampled_from(free)) if data is not None else free[0]
        return copy.deepcopy(chosen)

    def fail(self, caller: Caller) -> None:
        """A reply was lost for good: the caller gets an error, and its hand is cleaned up."""
        if caller.cleaning:  # it tries again until it knows
            assert caller.hand is not None
            caller.running = protocol.give_up(caller.claim, caller.hand, caller.registration)
            caller.send(None)
            return
        caller.running.close()
        if caller.hand is None:
            caller.done = True
            return
        caller.cleaning = True
        caller.running = protocol.give_up(caller.claim, caller.hand, caller.registration)
        caller.send(None)

    def kill(self, caller: Caller) -> None:
        caller.running.close()
        caller.done = True
        self.killed.append(caller)

    def retire_or_relent(self, pod: dict[str, Any]) -> None:
        """Do as a StatefulSet's scaling does."""
        to = {
            ClaimState.UNCLAIMED: ClaimState.RETIRING,
            ClaimState.RETIRING: ClaimState.UNCLAIMED,
        }.get(claim_state(pod) or ClaimState.ALLOCATED)
        if to is not None:
            self.truth.patch(pod, transition(pod, to))

    def collect(self) -> None:
        """Remove Pods that are ending, and then what they own."""
        for name, pod in list(self.truth.pods.items()):
            if pod["metadata"].get("deletionTimestamp"):
                del self.truth.pods[name]
                if pod["spec"].get("numbered"):  # a StatefulSet's comes back under its name
                    self.truth.add(name)
        alive = {uid_of(pod) for pod in self.truth.pods.values()}
        for registration in list(self.truth.registrations.values()):
            if registration.candidate.uid not in alive:
                self.truth.strike(registration)
        if len(self.truth.pods) < 2:
            self.truth.add()

    @invariant()
    def a_session_has_one_server(self) -> None:
        alive = [
            session
            for pod in self.truth.pods.values()
            if not pod["metadata"].get("deletionTimestamp")
            for session in sessions_of(pod)
        ]
        for session in SESSIONS:
            assert alive.count(session) <= 1, f"{session} has two servers"

    @invariant()
    def a_session_with_a_server_is_registered(self) -> None:
        """Else a replica that has not seen the server yet would give it another."""
        for pod in self.truth.pods.values():
            if not pod["metadata"].get("deletionTimestamp"):
                for session in sessions_of(pod):
                    if not session.startswith("~"):
                        assert session in self.truth.registrations, f"{session}: no registration"

    @invariant()
    def a_server_has_one_caller(self) -> None:
        by_server: dict[str, set[str]] = {}
        for caller in self.callers:
            if caller.result is not None:
                by_server.setdefault(uid_of(caller.result), set()).add(caller.claim.key)
        for pod in self.truth.pods.values():
            assert free_slots(pod) >= 0
            given = by_server.get(uid_of(pod), set())
            if not has_slots(pod):
                assert len(given) <= 1, "a server is two callers'"
            elif not pod["metadata"].get("deletionTimestamp"):
                assert given <= set(sessions_of(pod)), "a caller has a server that is not its own"

    def teardown(self) -> None:
        """Let all that is under way come to its end: then nothing is claimed for nobody."""
        while self.late:
            self.arrive(0)
        for _ in range(ENOUGH):
            if not self.running:
                break
            self.collect()
            if len([pod for pod in self.truth.pods.values() if is_claimable(pod)]) < 2:
                self.truth.add()
            for pod in self.truth.pods.values():
                pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
                if claim_state(pod) is ClaimState.RETIRING:
                    self.truth.patch(pod, transition(pod, ClaimState.UNCLAIMED))
            self.views = [copy.deepcopy(self.truth.pods) for _ in self.views]
            for caller in self.running:
                self.advance(caller, "well")
            self.a_session_has_one_server()
            self.a_server_has_one_caller()
        assert not self.running, "a caller that is left alone does not come to its end"
        self.collect()
        known = {caller.claim.id for caller in self.callers if caller.result is not None}
        known |= {caller.claim.id for caller in self.killed}
        for pod in self.truth.pods.values():
            if has_slots(pod):
                claimed = {key[1:] for key in sessions_of(pod) if key.startswith("~")}
                assert claimed <= known, "claimed for nobody"
            elif claim_state(pod) is ClaimState.ALLOCATED and SESSION not in annotations_of(pod):
                assert annotations_of(pod)[CLAIM] in known, "claimed for nobody"


TestClaims = ClaimMachine.TestCase
TestClaims.settings = settings(max_examples=200, stateful_step_count=80, deadline=None)


def test_a_claim_gives_back_only_what_is_its_own() -> None:
    """A caller whose write took long must not end what another has had for the session since."""
    truth = Truth()
    truth.slots = 3
    truth.add("arena-0")
    first, second = Claim(session="red"), Claim(session="red")
    truth.apply(protocol.Take(truth.pods["arena-0"], 1), first)
    taken = copy.deepcopy(truth.pods["arena-0"])
    assert first.has_slots_of(taken)
    truth.apply(protocol.Discard(taken), first)
    assert not sessions_of(truth.pods["arena-0"])

    truth.delete(truth.pods["arena-0"])  # a StatefulSet's: it comes back under its name
    truth.add("arena-0")
    truth.apply(protocol.Take(truth.pods["arena-0"], 1), second)
    truth.apply(protocol.Discard(taken), first)
    assert second.has_slots_of(truth.pods["arena-0"])
    assert not first.has_slots_of(truth.pods["arena-0"])


def test_a_registration_that_another_caller_relies_on_is_not_struck() -> None:
    pod = new_pod("arena-1", "uid-1", None)
    registration = Registration("red", Candidate.of(pod), 1, "lease-1")
    others = json_patch(pod, Claim(session="red").patch(pod, NOW))
    steps = protocol.give_up(Claim(session="red"), pod, registration)
    assert isinstance(next(steps), protocol.Read)
    with pytest.raises(StopIteration):
        steps.send(others)
