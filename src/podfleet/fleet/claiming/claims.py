"""`Claims`: carries the steps of `protocol` out on the cluster. No decisions of its own."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from attrs import evolve

from podfleet.errors import (
    AdmissionRefused,
    AlreadyExists,
    ConfigurationError,
    Invalid,
    NotFound,
    PodfleetError,
)
from podfleet.fleet.claiming import protocol
from podfleet.fleet.claiming.claim import (
    Candidate,
    Claim,
    Standing,
    is_unchanged,
    share,
    standing,
    transition,
)
from podfleet.fleet.claiming.registration import Registration, lease, registration_of
from podfleet.kube import Guard
from podfleet.kube.paths import leases, pods
from podfleet.kube.retry import Backoff
from podfleet.log import about
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of, uid_of
from podfleet.model.names import FLEET, registration_name
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.slots import has_slots, sessions_of

__all__ = ["Claims", "Shown"]

_log = logging.getLogger(__name__)

_RACE = (0.01, 1.0)  # seconds, doubled, until a shared server is written that others write, too
_AGAIN = (0.05, 10.0)  # seconds, doubled, until a clean-up that failed is tried again


class Shown(Protocol):
    """Where claims learn what a watch has shown, and tell what they have read."""

    def find(self, key: str) -> Sequence[Manifest]:
        """Return the servers of a session."""

    def get(self, name: str) -> Manifest | None:
        """Return a server's Pod, or ``None``."""

    def observe(self, seen: Manifest) -> bool:
        """Take note of a Pod as it is now; return whether it can be read."""

    def miss(self, name: str, uid: str) -> None:
        """Take note that a Pod was not found."""


class Claims:
    """The reads and writes that claims are made of.

    Args:
        fleet: The fleet's name, or that of a group of fleets: under it sessions meet.
        namespace: The fleet's namespace.
        guard: Reads and writes the servers of these fleets.
        store: The servers, indexed by their sessions.
    """

    def __init__(self, fleet: str, namespace: str, guard: Guard, store: Shown) -> None:
        self._fleet = fleet
        self._namespace = namespace
        self._pods = pods(namespace)
        self._leases = leases(namespace)
        self._guard = guard
        self._meeting = guard.of(fleet)
        self._store = store

    async def carry_out(self, step: protocol.Step, claim: Claim) -> Any:
        """Return the answer to a step.

        Raises:
            PodfleetError: It is not known, or the cluster refuses it for good.
        """
        match step:
            case protocol.Register(session, candidate, slots):
                return await self._register(session, candidate, slots)
            case protocol.Strike(registration):
                await self._strike(registration)
            case protocol.Read(candidate):
                return await self._read(candidate)
            case protocol.Take(pod, slots):
                mine = claim if slots == claim.slots else evolve(claim, slots=slots)
                patch = mine.patch(pod, datetime.now(UTC))
                return await self.write(pod, patch, done=claim.holds)
            case protocol.Fence(pod):
                turn = Candidate.of(pod)
                patch = transition(pod, claim_state(pod) or ClaimState.UNCLAIMED)
                return await self.write(pod, patch, done=lambda now: Candidate.of(now) != turn)
            case protocol.Discard(pod) if has_slots(pod):
                await self._leave(pod, claim)
            case protocol.Discard(pod):
                await self._guard.delete_while(self._pods, pod, claim.holds)
        return None

    def _about(self, server: str | None, session: str | None) -> dict[str, str]:
        return about(fleet=self._fleet, namespace=self._namespace, server=server, session=session)

    async def give_up(
        self,
        claim: Claim,
        pod: Manifest,
        registration: Registration | None,
        *,
        denied: bool = False,
    ) -> None:
        """See to it that a claim holds nothing; try until that is known.

        Args:
            claim: The claim.
            pod: The Pod that it was to have.
            registration: The session's, if it is known to have been made.
            denied: Whether the claim was surely not written, because an admission check refused
                it. If that refuses this too, the registration stays until somebody asks for the
                session again, or the Pod goes: nothing can come of it.
        """

        async def carry_out(step: protocol.Step) -> Any:
            return await self.carry_out(step, claim)

        backoff, level = Backoff(_AGAIN), logging.WARNING
        while True:
            try:
                if registration is None and claim.session is not None:
                    # It may have been made, and the answer lost or not waited for.
                    registration = await self._registered(claim.session)
                await protocol.drive(protocol.give_up(claim, pod, registration), carry_out)
                return
            except PodfleetError as error:
                if denied and isinstance(error, AdmissionRefused):
                    return
                _log.log(
                    level,
                    "%s/%s: not given up yet, trying again: %s",
                    self._namespace,
                    name_of(pod),
                    error,
                    extra=self._about(name_of(pod), claim.session),
                )
                level = logging.DEBUG  # told once
            await backoff.wait()

    def shown(self, session: str | None) -> Manifest | None:
        """Return a session's server, if the watch has shown it."""
        if session is None:
            return None
        for pod in self._store.find(session):
            if _serves(pod, session):
                return pod
        return None

    async def strike(self, session: str) -> None:
        """Remove a session's registration if it is over, and if that can be known now.

        Left behind, it stands in nobody's way, and goes with its Pod.
        """
        try:
            registration = await self._registered(session)
            if registration is not None:
                pod = await self._read(registration.candidate)
                if standing(pod, registration.candidate, session) is Standing.OVER:
                    await self.carry_out(protocol.Strike(registration), Claim())
        except PodfleetError as error:
            _log.debug(
                "session %r: its registration goes with its Pod: %s",
                session,
                error,
                extra=self._about(None, session),
            )

    async def find(self, session: str) -> Manifest | None:
        """Return a session's server, whichever replica claimed it, as it is now."""
        shown = self.shown(session)
        if shown is not None:
            # The watch may show what has been: a server that is another session's by now.
            pod = await self.serving(Candidate.of(shown), session)
            if pod is not None:
                return pod
        registration = await self._registered(session)
        return None if registration is None else await self.serving(registration.candidate, session)

    async def serving(self, candidate: Candidate, session: str) -> Manifest | None:
        """Return a server as it is now, if it is a session's; else ``None``."""
        pod = await self._read(candidate)
        return pod if standing(pod, candidate, session) is Standing.SERVES else None

    async def _leave(self, pod: Manifest, claim: Claim) -> None:
        """Give back what a claim has of a shared server; others stay on it.

        Not what another call has had for the same session since: on this server, or on one that
        came back under its name.
        """
        shown: Manifest | None = pod
        backoff = Backoff(_RACE, free=2)
        while shown is not None and uid_of(shown) == uid_of(pod) and claim.has_slots_of(shown):
            left = {key: count for key, count in sessions_of(shown).items() if key != claim.key}
            patch = share(shown, left, uuid.uuid4().hex, datetime.now(UTC))
            shown = await self.write(shown, patch, lambda now: claim.key not in sessions_of(now))
            await backoff.wait()

    async def _register(
        self, session: str, candidate: Candidate, slots: int
    ) -> Registration | None:
        """Return the registration that there is now; ``None`` if it went meanwhile.

        Raises:
            AlreadyExists: A Lease has its name that is none.
        """
        body = lease(self._namespace, self._fleet, session, candidate, slots)
        try:
            found = await self._meeting.create(self._leases, body)
        except AlreadyExists:
            try:
                found = await self._meeting.get(self._leases, name_of(body))
            except NotFound as error:
                if error.found is None:
                    return None
                found = error.found
        registration = registration_of(found, session) if self._meeting.owns(found) else None
        if registration is None:
            raise self._meeting.taken(
                f"Lease {self._namespace}/{name_of(body)}",
                f"remove it, so that session {session!r} can have a server",
            )
        return registration

    async def _registered(self, session: str) -> Registration | None:
        """Return a session's registration; ``None`` if it has none."""
        name = registration_name(self._fleet, session)
        found = await self._meeting.find(self._leases, name)
        return None if found is None else registration_of(found, session)

    async def _strike(self, registration: Registration) -> None:
        name = registration_name(self._fleet, registration.session)
        found = await self._meeting.find(self._leases, name)
        if found is not None and uid_of(found) == registration.uid:
            await self._meeting.delete_while(self._leases, found, lambda _: True)

    async def _read(self, candidate: Candidate) -> Manifest | None:
        try:
            pod = await self._guard.get(self._pods, candidate.name)
        except NotFound as error:
            self._lose(candidate, error.found)
            self._refuse_others(candidate, error.found)
            return None
        return pod if self._store.observe(pod) else None

    def _refuse_others(self, candidate: Candidate, found: Manifest | None) -> None:
        """Of a group: a session may be on a fleet that only other backends have in the group.

        To give it another server would be one too many.

        Raises:
            ConfigurationError: It is.
        """
        is_there = found is not None and uid_of(found) == candidate.uid
        if self._fleet in self._guard.fleets or found is None or not is_there:
            return
        fleet = labels_of(found).get(FLEET)
        if fleet is not None:
            raise ConfigurationError(
                "FleetGroup.fleets",
                self._guard.fleets,
                f"{self._namespace}/{candidate.name} was registered in group {self._fleet}, and is "
                f"of fleet {fleet}, which this group does not have: add it until it is empty",
            )

    def _lose(self, candidate: Candidate, found: Manifest | None) -> None:
        """Take note that a server is gone, or not the fleet's any more."""
        if found is not None and uid_of(found) == candidate.uid:
            self._store.observe(found)
        else:
            self._store.miss(candidate.name, candidate.uid)

    async def write(self, pod: Manifest, patch: Any, done: Any) -> Manifest | None:
        """Patch a Pod; return it as it is now, whoever was faster."""
        candidate = Candidate.of(pod)
        try:
            written = await self._guard.patch(self._pods, pod, patch, done)
        except (Invalid, NotFound) as error:
            found = error.found
            if found is None or (isinstance(error, NotFound) and not self._guard.owns(found)):
                self._lose(candidate, found)
                return None
            if not self._store.observe(found):
                return None
            if is_unchanged(found, pod):
                raise  # not for a lost race: it refuses what was to be written
            return found
        return written if self._store.observe(written) else None


def _serves(pod: Manifest, session: str) -> bool:
    return standing(pod, Candidate.of(pod), session) is Standing.SERVES
