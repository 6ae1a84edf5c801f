"""`Core`: a running fleet: its watch, and the writes on one server. No policy."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from podfleet.errors import Conflict, NotFound, PodfleetError
from podfleet.fleet.census import Census
from podfleet.fleet.claiming.claim import Claim, is_claimable, reserved_for
from podfleet.fleet.claiming.claims import Claims
from podfleet.fleet.claiming.protocol import Discard
from podfleet.fleet.claiming.releases import Releases
from podfleet.fleet.claiming.seats import Seats
from podfleet.fleet.claiming.strays import Strays
from podfleet.fleet.events.stream import Events
from podfleet.fleet.events.witness import Witness
from podfleet.fleet.exposer import Exposer
from podfleet.fleet.gate import Gate
from podfleet.fleet.ledger import PortLedger
from podfleet.fleet.nodes import Nodes
from podfleet.fleet.pool.free import FreeServers
from podfleet.fleet.pool.line import Line
from podfleet.fleet.pool.orphans import Orphans
from podfleet.fleet.sets.replicas import Replicas
from podfleet.fleet.sighting import Sighting
from podfleet.fleet.spec import FleetSpec
from podfleet.fleet.tally import Purpose, Removal, Tally
from podfleet.kube import Change, Guard, KubeClient, Progress, Reflector, Store
from podfleet.kube.paths import pods
from podfleet.kube.progress import on_its_own
from podfleet.kube.retry import Backoff
from podfleet.log import about
from podfleet.model import FleetStatus, Manifest
from podfleet.model.readable import unreadable_pod
from podfleet.model.recycling import noted
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.slots import has_slots, sessions_of
from podfleet.waiters.watching import with_evidence

__all__ = ["Core"]

_log = logging.getLogger(__name__)

_STOP_TIMEOUT = 10.0  # seconds for what is still being cleaned up
_DISCARD_PAUSE = (0.05, 10.0)  # seconds, doubled: a starting Pod is written often, then rarely
_RECONCILE_PAUSE = 0.2  # seconds between two looks into memory
_REMEMBERED_NAMES = 4096
_RESERVATION_MARGIN = 0.01  # seconds


class Core:
    """A running fleet, in one event loop.

    Args:
        spec: What the fleet was asked to be.
        client: The transport; closed by `stop`.
        namespace: Where the servers live.
        tally: Counts what is done.
    """

    def __init__(self, spec: FleetSpec, client: KubeClient, namespace: str, tally: Tally) -> None:
        self.spec = spec
        self.namespace = namespace
        self.tally = tally
        self.client = client
        """Reads and watches; what is written goes through `guard`."""
        self.guard = Guard(client, namespace, [spec.name])
        self.store = Store(
            sessions_of, admits=self.guard.owns, unreadable=unreadable_pod, about=self.about()
        )
        self.events = Events(self.store, Witness(partial(with_evidence, client)))
        self.nodes = Nodes(spec, client, self.about())
        self.nodes.listen(self._cordon)
        self.exposer = Exposer(spec, client, self.store, namespace, self.nodes)
        self.ports = PortLedger(spec, namespace)
        self.claims = Claims(spec.name, namespace, self.guard, self.store)
        self.releases = Releases(spec, namespace, self.guard, self.store)
        self.seats = Seats(self.claims)
        self.strays = Strays(namespace, client, self.guard, self.store)
        self.free = FreeServers(self.store, spec.revision, spec.packing)
        self.line = Line(self.free)
        self.gate = Gate(spec.name, namespace, self.guard)
        self.gate.listen(self._turn_away)
        self.orphans = Orphans(spec.revision)
        self.replicas = (
            Replicas(spec, spec.workload, client, self.guard, self.store, namespace)
            if spec.workload
            else None
        )
        self.abandoned: OrderedDict[str, None] = OrderedDict()
        """Servers that are to go, if they exist: their create may be carried out late."""
        self._census = Census()
        self._on_sighting: list[Callable[[Sighting], None]] = []
        self._cleanups: set[asyncio.Task[None]] = set()
        self._reflector = Reflector(
            client, pods(namespace), {"labelSelector": spec.selector}, self.store, self.about()
        )

    async def start(self, timeout: float) -> None:
        """Watch the fleet's Pods; return when the store shows them.

        Args:
            timeout: Seconds.

        Raises:
            PodfleetError: Why it does not.
        """
        self.store.listen(self.ports.follow)
        self.store.listen(self.exposer.forget)
        self.store.listen(self._see)
        self.store.listen(self._clean_up_abandoned)
        self.store.listen(self._time_reservation)
        self.store.listen(self._note_unready)
        if self.replicas is not None:
            self.store.listen(self.replicas.follow)
        self._reflector.start()
        self.nodes.start()
        # Beside the list: nobody waits for it. What it misses is read again before it matters.
        looking = self.in_background(self._look_whether_drained(), copy_context())
        try:
            await self._reflector.wait_synced(timeout)
            await looking
            self.ports.reconcile(self.store)
            await self.exposer.prepare()
            if self.replicas is not None:
                await self.replicas.prepare()
        finally:
            looking.cancel()

    async def stop(self) -> None:
        """Finish what is being cleaned up, then end the watch and the connections."""
        self.events.stop()
        if self._cleanups:
            await asyncio.wait(self._cleanups, timeout=_STOP_TIMEOUT)
        for late in list(self._cleanups):
            late.cancel()
        if self._cleanups:
            await asyncio.wait(self._cleanups)
        await self._reflector.stop()
        await self.nodes.stop()
        await self.client.close()

    @property
    def listing(self) -> Progress:
        """What the list of its servers waits for."""
        return self._reflector.progress

    @property
    def status(self) -> FleetStatus:
        """What the watch has shown."""
        return FleetStatus(
            servers=self._census.counts,
            synced=self._reflector.synced,
            age=self._reflector.age,
            waiting=len(self.line),
            drained_since=self.gate.since,
        )

    def about(self, server: str | None = None) -> dict[str, str]:
        """Return the ``extra`` of a log record about this fleet, or one of its servers."""
        return about(fleet=self.spec.name, namespace=self.namespace, server=server)

    async def read(self, pod_name: str) -> Manifest | None:
        """Return a server as the API server shows it now; ``None`` if there is none to be read."""
        try:
            pod = await self.guard.get(pods(self.namespace), pod_name)
        except NotFound as error:
            if error.found is not None:
                self.store.observe(error.found)  # perhaps the fleet's until now
            return None
        return pod if self.store.observe(pod) else None

    async def create(
        self, pod_name: str, numbers: tuple[int, ...], patience: float | None
    ) -> Manifest:
        """Create a server's Pod and its own objects.

        Die between the two, and the Pod stays unclaimed: whoever adopts it attaches again.

        Args:
            pod_name: The server's name.
            numbers: Of the pool.
            patience: Seconds that the caller is going to wait for it; ``None`` for a server that
                is anybody's.
        """
        body = self.spec.pod(self.namespace, pod_name, numbers, patience)
        pod = await self.guard.create(pods(self.namespace), body)
        purpose = Purpose.READY if patience is None else Purpose.ALLOCATE
        self.tally.created(purpose)
        _log.info(
            "%s/%s: created, for: %s",
            self.namespace,
            pod_name,
            purpose.value,
            extra=self.about(pod_name),
        )
        self.store.observe(pod)
        await self.exposer.attach(pod)
        return pod

    def adopt(self) -> Manifest | None:
        """Return a ready server whose starter is no more, held."""
        for pod_name in self.orphans.adoptable():
            is_wanted = pod_name in self.free.held or pod_name in self.abandoned
            if not is_wanted and (pod := self.store.get(pod_name)) is not None:
                self.free.hold(pod_name)
                return pod
        return None

    async def reconcile(self, timeout: float) -> tuple[str, ...]:
        """Remove what killed replicas left; return the names of the servers among it.

        Args:
            timeout: Seconds to wait until it is known what that is.
        """
        deadline = time.monotonic() + timeout
        strays = await self.strays.find()
        deleted: list[str] = []
        if self.replicas is None:
            deleted = await self._delete_orphans(deadline)
        else:  # an unclaimed server is as it should be
            await self.replicas.release_all_marks(deadline)
        await self.strays.end(strays, deadline)
        return tuple(deleted)

    async def _delete_orphans(self, deadline: float) -> list[str]:
        undecided = self.orphans.unclaimed(self.free.held)
        deleted = []
        while undecided:
            for pod_name in sorted(filter(self.orphans.is_lost, undecided)):
                pod = self.store.get(pod_name)
                if pod is not None and await self.delete_unchanged(pod):
                    self.tally.removed(Removal.ORPHAN)
                    deleted.append(pod_name)
                undecided.discard(pod_name)
            undecided &= self.orphans.unclaimed(self.free.held)
            if time.monotonic() > deadline:
                break
            if undecided:
                await asyncio.sleep(_RECONCILE_PAUSE)
        return deleted

    async def delete_unchanged(self, pod: Manifest) -> bool:
        """Delete a server unless somebody wrote to it since it was seen: perhaps by a claim.

        Returns:
            Whether it was deleted.
        """
        try:
            return await self.guard.delete(pods(self.namespace), pod)
        except Conflict:
            return False

    def abandon(self, pod_name: str, claim: Claim) -> asyncio.Task[None]:
        """Remove a server that an allocation leaves behind; goes on in the background.

        A create whose reply was lost may still be carried out after this has looked: the
        name is remembered, and the watch brings it back here.
        """
        self.abandoned[pod_name] = None
        if len(self.abandoned) > _REMEMBERED_NAMES:
            self.abandoned.popitem(last=False)
        return self.in_background(self._discard(pod_name, claim))

    def in_background(
        self, work: Coroutine[Any, Any, None], context: Context | None = None
    ) -> asyncio.Task[None]:
        """Run something that must be finished whatever happens to its caller.

        Args:
            work: What to run.
            context: Its context; by default the caller's, who does not wait for its requests.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(work, context=context or on_its_own())
        self._cleanups.add(task)
        task.add_done_callback(self._cleanups.discard)
        return task

    async def _discard(self, pod_name: str, claim: Claim) -> None:
        """Delete the server unless it is somebody else's by now; try until that is known."""
        backoff, level = Backoff(_DISCARD_PAUSE), logging.WARNING
        while True:
            try:
                await self._discard_once(pod_name, claim)
                return
            except Conflict:
                pass  # written since it was read: look again
            except PodfleetError as error:
                _log.log(
                    level,
                    "%s/%s: not deleted yet, trying again: %s",
                    self.namespace,
                    pod_name,
                    error,
                    extra=self.about(pod_name),
                )
                level = logging.DEBUG  # told once
            await backoff.wait()

    async def _discard_once(self, pod_name: str, claim: Claim) -> None:
        """Look at the Pod, and delete what was looked at.

        Raises:
            Conflict: It was written since it was read, perhaps by a claim: look again.
        """
        pod = await self.read(pod_name)
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            return
        if has_slots(pod) and claim.session is None and claim.holds(pod):
            await self.claims.carry_out(Discard(pod), claim)
            await self._discard_once(pod_name, claim)
        elif (claim.holds(pod) and claim.session is None) or (
            is_claimable(pod) and self.replicas is None
        ):
            if await self.guard.delete(pods(self.namespace), pod):
                self.tally.removed(Removal.OTHER)
        else:
            self.abandoned.pop(pod_name, None)  # another replica's match runs there

    def _see(self, change: Change) -> None:
        pod = change.after
        seen = Sighting(change.name, pod, None if pod is None else self.exposer.flaw(pod))
        self._census.follow(seen)
        self.orphans.follow(seen)
        self.free.follow(seen)
        self.line.follow(seen)
        for listener in self._on_sighting:
            listener(seen)

    def on_sighting(self, listener: Callable[[Sighting], None]) -> None:
        """Call the listener with every server that is seen, after the fleet's own parts."""
        self._on_sighting.append(listener)

    def _cordon(self, node: str, cordoned: bool) -> None:
        if self.replicas is None:  # of a StatefulSet the lowest free server goes first
            self.free.cordon(node, cordoned)

    def _turn_away(self) -> None:
        if self.gate.since is not None:
            self.line.turn_away(self.gate.refusal())

    async def _look_whether_drained(self) -> None:
        if self.replicas is None:
            try:
                await self.gate.look()
            except PodfleetError as error:
                _log.debug(
                    "fleet %s: its Lease is not read yet: %s",
                    self.spec.name,
                    error,
                    extra=self.about(),
                )

    def _time_reservation(self, change: Change) -> None:
        """Look at a reserved server again when its time is up: no event tells that."""
        pod = change.after
        if pod is not None and claim_state(pod) is ClaimState.RESERVED:
            delay = max(0.0, reserved_for(pod)) + _RESERVATION_MARGIN
            asyncio.get_running_loop().call_later(delay, self._look_again, change.name)

    def _note_unready(self, change: Change) -> None:
        pod = change.after
        if pod is not None and claim_state(pod) is ClaimState.RECYCLING and noted(pod) is not None:
            self.in_background(self.releases.note_unready(pod))

    def _look_again(self, name: str) -> None:
        self.free.look_again(name)
        self.line.serve()

    def _clean_up_abandoned(self, change: Change) -> None:
        if change.name not in self.abandoned:
            return
        if change.after is None:
            del self.abandoned[change.name]
        elif change.uid_before is None:  # a create that was carried out after all
            self.abandon(change.name, Claim())
