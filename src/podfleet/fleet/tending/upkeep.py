"""`Upkeep`: what one replica does for the fleet: it looks, decides, and has it carried out."""

from __future__ import annotations

import asyncio
import logging
import time
from contextvars import Context

from attrs import frozen

from podfleet.chance import CHANCE
from podfleet.errors import PodfleetError, WaitTimeout
from podfleet.fleet.claiming.claim import turn_of
from podfleet.fleet.claiming.deadline import Deadline
from podfleet.fleet.core import Core
from podfleet.fleet.sighting import Sighting
from podfleet.fleet.tally import Removal
from podfleet.fleet.tending.emptying import until_empty
from podfleet.fleet.tending.meter import Meter
from podfleet.fleet.tending.pace import Pace
from podfleet.fleet.tending.reaper import Reaper
from podfleet.fleet.tending.reason import Reason
from podfleet.fleet.tending.rolling import Step, next_step
from podfleet.fleet.tending.surplus import Surplus
from podfleet.fleet.tending.tender import Tender
from podfleet.fleet.tending.works import Works
from podfleet.fleet.trace import span
from podfleet.kube import Progress
from podfleet.kube.progress import follow
from podfleet.kube.retry import pause
from podfleet.model import Manifest, Verdict
from podfleet.model.event import EventKind
from podfleet.model.manifest import uid_of
from podfleet.model.rollout import RolloutStatus
from podfleet.scaling import Load, wanted

__all__ = ["Upkeep"]

_log = logging.getLogger(__name__)

_ASKED = 2.0  # seconds from one look to the next, if nothing happens
_LOOK = 60.0  # seconds after which the Lease is read though nothing is to be done: see `Gate`
_STALE = 120.0  # seconds unheard of, after which nothing is removed: a watch is heard each minute
_ROUND = 64  # servers that are removed before it is looked again
_PAUSE = (0.5, 30.0)  # seconds, doubled from one failure to the next
_OTHERS_TURN = (1.0, 2.0)  # seconds until it is asked again whose turn it is


@frozen
class _Plan:
    """What is to be done.

    Args:
        create: How many servers.
        replace: Servers whose numbers others have.
        remove: Servers that are too many or of no use, as they were seen, and why.
    """

    create: int
    replace: tuple[str, ...]
    remove: tuple[tuple[Manifest, Reason], ...]

    def __bool__(self) -> bool:
        return bool(self.create > 0 or self.replace or self.remove)


class Upkeep:
    """Tends a fleet, when it is this replica's turn.

    Args:
        core: The running fleet.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tender = Tender(core.spec.name, core.gate, core.guard, core.spec.revision)
        self._works = Works(core, self._tender)
        self._meter = Meter(core.free, core.line)
        self._reaper = Reaper(core.orphans)
        self._surplus = Surplus()
        self._pace = Pace()
        self._wanted = 0
        self._calls = 0  # of `allocate`, when the Lease was read last
        self._changed = asyncio.Event()
        self._refused: set[str] = set()
        self._failed: set[str] = set()
        self._rolling = False
        self._task: asyncio.Task[None] | None = None
        core.on_sighting(self._follow)
        core.gate.listen(self._changed.set)
        core.nodes.listen(lambda _, __: self._changed.set())

    def start(self) -> None:
        """Begin; returns at once."""
        self._changed.set()
        self._task = asyncio.create_task(
            self._run(),
            name=f"podfleet upkeep {self._core.spec.name}",
            context=Context(),  # it outlives the request in which the fleet was started
        )

    async def stop(self) -> None:
        """End, and let another replica go on."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task})
        try:
            await self._tender.give_back()
        except PodfleetError as error:
            _log.debug(
                "fleet %s: its Lease runs out by itself: %s",
                self._core.spec.name,
                error,
                extra=self._core.about(),
            )

    def _follow(self, seen: Sighting) -> None:
        self._meter.follow(seen)
        self._reaper.follow(seen)
        name, pod = seen.name, seen.pod
        is_offered = self._core.free.offers(name)
        if pod is not None and is_offered and self._core.spec.exposure.refused(pod):
            self._refused.add(name)
        else:
            self._refused.discard(name)
        diagnosis = seen.diagnosis
        if diagnosis is None or diagnosis.verdict is not Verdict.FAILED:
            self._failed.discard(name)
        elif is_offered and name not in self._failed:
            self._failed.add(name)
            counts = self._pace.failed(time.monotonic())
            if counts and self._pace.failures == 1:  # once, not for each that follows
                _log.error(
                    "fleet %s: %s will never be ready; others like it are made ever more "
                    "slowly, until one is: %s",
                    self._core.spec.name,
                    name,
                    diagnosis,
                    extra=self._core.about(name),
                )
        if pod is not None and is_offered and seen.ready and turn_of(pod) == 0:
            self._pace.succeeded()
        self._tell_rolled()
        free = self._core.free
        if (
            free.offered < self._wanted
            or free.outdated
            or free.leaving
            or self._refused
            or (self._core.gate.since is not None and free.offered)
        ):
            self._changed.set()

    def _tell_rolled(self) -> None:
        """Tell when the last free server of another template has gone."""
        if self._core.spec.policy is None or self._tender.outdated or not self._tender.known:
            return
        was_rolling, self._rolling = self._rolling, self._core.free.outdated > 0
        if was_rolling and not self._rolling:
            self._core.events.tell(
                EventKind.ROLLED, f"all free servers are of template {self._core.spec.revision}"
            )

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._wait()
            try:
                await self._learn()
                if not self._plan():
                    continue
                was_outdated = self._tender.outdated
                if not await self._tender.take():
                    await asyncio.sleep(CHANCE.uniform(*_OTHERS_TURN))
                    self._changed.set()
                    continue
                if self._tender.outdated and not was_outdated:
                    self._say_outdated()
                # Anew: the fleet may have a newer template, as is known since the Lease was read.
                with span("tend", self._core.spec.name):
                    failures = 0 if await self._carry_out(self._plan()) else failures + 1
            except PodfleetError as error:
                level = logging.DEBUG if failures else logging.WARNING  # an outage is told once
                failures += 1
                _log.log(
                    level,
                    "fleet %s: not tended yet: %s",
                    self._core.spec.name,
                    error,
                    extra=self._core.about(),
                )
            except Exception:  # a bug here must not leave the fleet empty: say it, and go on
                failures += 1
                _log.exception(
                    "fleet %s: tending failed unexpectedly",
                    self._core.spec.name,
                    extra=self._core.about(),
                )
            if failures:
                await asyncio.sleep(pause(failures, _PAUSE))
            # Else at the next event, or in a moment: what was deleted has yet to be seen going.
            if failures or self._missing > 0:
                self._changed.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_ASKED):
                await self._changed.wait()
        except TimeoutError:
            pass  # time alone may have changed what is wanted
        self._changed.clear()

    async def _learn(self) -> None:
        """Have the fleet know this replica's template; learn what its Lease says."""
        tender, was_outdated = self._tender, self._tender.outdated
        keeps_servers = self._core.spec.policy is not None  # who keeps none has no say in them
        if keeps_servers and not tender.known:
            await tender.declare()
        elif time.monotonic() > self._core.gate.looked + (_ASKED if self._matters else _LOOK):
            self._calls = self._core.tally.calls
            await tender.look()
        if keeps_servers and tender.outdated and not was_outdated:
            self._say_outdated()

    @property
    def _matters(self) -> bool:
        """Whether it matters soon that the fleet is drained, or reopened."""
        core = self._core
        # Of servers that sessions share one may be joined without anything that tells of a drain.
        shares = core.spec.template.slots is not None and core.tally.calls != self._calls
        # What was made when the fleet was drained already, as was not known, has to go again.
        made = self._works.created > core.gate.looked
        return core.gate.since is not None or len(core.line) > 0 or shares or made

    def _say_outdated(self) -> None:
        _log.warning(
            "fleet %s: it has a newer template than this backend's, %s: this one keeps no servers "
            "ready any more. To go back to it, call roll_out()",
            self._core.spec.name,
            self._core.spec.revision,
            extra=self._core.about(),
        )

    async def roll_out(self) -> None:
        """Make this replica's template the fleet's, though the fleet has had it before."""
        await self._tender.declare(again=True)
        self._changed.set()

    async def hold(self, paused: bool) -> None:
        """Hold the roll-out, or have it go on."""
        await self._tender.hold(paused)
        self._changed.set()

    async def drain(self, deadline: Deadline | None) -> None:
        """Have the fleet hand out no servers; return when none runs any more: see `AsyncFleet`."""
        progress = Progress() if deadline is None else deadline.progress
        try:
            async with asyncio.timeout_at(None if deadline is None else deadline.at):
                with follow(progress):
                    unsettled = await self._tender.close()
        except TimeoutError:
            assert deadline is not None
            raise WaitTimeout(
                f"fleet {self._core.spec.name}: not empty within {deadline.timeout:g} s: whether "
                f"it is drained is not known: {progress}: call drain() again"
            ) from None
        self._changed.set()
        await until_empty(self._core, time.monotonic() + unsettled, deadline)

    async def reopen(self) -> None:
        """Put the fleet back into service."""
        await self._tender.open()

    async def rollout_status(self) -> RolloutStatus:
        """Return how far the roll-out is."""
        await self._tender.look()
        core = self._core
        return RolloutStatus(
            revision=core.spec.revision,
            is_present=not self._tender.outdated,
            paused=self._tender.paused,
            failing=self._pace.failures > 0,
            updated=core.free.offered + core.free.leaving,
            updated_ready=core.free.ready + core.free.leaving_ready,
            outdated=core.free.outdated,
            outdated_allocated=core.free.outdated_taken,
        )

    def _plan(self) -> _Plan:
        """Return what is to be done, by what the watch has shown."""
        core, now = self._core, time.monotonic()
        missing = 0
        going: list[tuple[str, Reason]] = []
        if core.gate.since is not None:
            drained = Reason(Removal.DRAINED, "the fleet is drained")
            going += [(name, drained) for name in core.free.unclaimed(_ROUND)]
        elif core.spec.policy is not None and not self._tender.outdated:
            load = self._meter.load()
            self._ask(load)
            step = self._step
            missing = self._missing
            going += self._replaced(step.remove)
            surplus = self._surplus.of(now, load.free, self._wanted)
            one_too_many = Reason(Removal.SURPLUS, "one too many")
            going += [(name, one_too_many) for name in core.free.dispensable(surplus)]
        going += self._reaper.due()
        if core.status.age > _STALE:
            going.clear()
        # As they are seen now: whatever is written on one from here on spares it.
        gone = self._works.going
        seen = ((core.store.get(name), why) for name, why in going[:_ROUND])
        remove = tuple(
            (pod, why) for pod, why in seen if pod is not None and uid_of(pod) not in gone
        )
        return _Plan(missing, tuple(self._refused), remove)

    def _replaced(self, count: int) -> list[tuple[str, Reason]]:
        """Return so many servers that others replace, and why."""
        free, revision = self._core.free, self._core.spec.revision
        outdated = f"its template is not the fleet's any more: {revision} is"
        return [
            (name, Reason(Removal.CORDONED, "its node is cordoned"))
            if free.leaves(name)
            else (name, Reason(Removal.OUTDATED, outdated))
            for name in free.replaceable(count, outdated=not self._tender.paused)
        ]

    @property
    def _step(self) -> Step:
        """How the roll-out goes on, and the cordoned nodes empty; mostly it is what is missing."""
        free = self._core.free
        outdated, outdated_ready = free.outdated, free.outdated_ready
        held, held_ready = (outdated, outdated_ready) if self._tender.paused else (0, 0)
        return next_step(
            self._core.spec.rollout,
            wanted=self._wanted,
            new=free.offered + held,
            new_ready=free.ready + held_ready,
            old=free.leaving + outdated - held,
            old_ready=free.leaving_ready + outdated_ready - held_ready,
            failing=self._pace.failures > 0,
        )

    @property
    def _missing(self) -> int:
        """How many servers may be created now."""
        free = self._core.free
        if self._core.spec.policy is None or self._tender.outdated:
            return 0
        if self._core.gate.since is not None:
            return 0
        return self._pace.allowed(
            time.monotonic(),
            missing=self._step.create,
            starting=free.starting,
            unplaced=free.unplaced,
        )

    def _ask(self, load: Load) -> None:
        """Ask the policy; if it fails, what it said last counts."""
        policy = self._core.spec.policy
        assert policy is not None
        try:
            self._wanted = wanted(policy, load)
        except Exception:  # the user's
            _log.exception(
                "fleet %s: its scaling policy failed: %s free servers stay wanted",
                self._core.spec.name,
                self._wanted,
                extra=self._core.about(),
            )

    async def _carry_out(self, plan: _Plan) -> bool:
        """Do it; return whether the cluster took it all."""
        for name in plan.replace:
            self._refused.discard(name)
            self._works.replace(name)
        self._works.begin()
        try:
            went = await self._works.remove(plan.remove)
            await self._works.create(plan.create, lambda: self._missing)
        finally:
            self._tell_scaled()
        return not plan.replace and went

    def _tell_scaled(self) -> None:
        made, spared = self._works.made, self._works.spared
        if made or spared:
            wanted_now = 0 if self._core.gate.since is not None else self._wanted
            self._core.events.tell(
                EventKind.SCALED,
                f"{wanted_now} free servers are wanted: {made} made, {spared} too many deleted",
            )
