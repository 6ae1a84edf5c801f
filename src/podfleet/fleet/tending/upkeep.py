"""`Upkeep`: what one replica does for the fleet: servers are made, and those of no use removed.

What if we die after each line? A Pod without its Service is attached by whoever claims it; what is
short, too many or of no use is seen by the next tender.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from attrs import frozen

from podfleet.errors import ApiError, PodfleetError
from podfleet.fleet.claiming.claim import Claim, turn_of
from podfleet.fleet.core import Core
from podfleet.fleet.sighting import Sighting
from podfleet.fleet.tally import Removal
from podfleet.fleet.tending.meter import Meter
from podfleet.fleet.tending.pace import Pace
from podfleet.fleet.tending.reaper import Reaper
from podfleet.fleet.tending.reason import Reason
from podfleet.fleet.tending.rolling import Step, next_step
from podfleet.fleet.tending.surplus import Surplus
from podfleet.fleet.tending.tender import Tender
from podfleet.kube.retry import pause
from podfleet.model import Manifest, Verdict
from podfleet.model.event import EventKind
from podfleet.model.manifest import name_of, uid_of
from podfleet.model.names import new_server_name
from podfleet.model.rollout import RolloutStatus
from podfleet.scaling import Load, wanted

__all__ = ["Upkeep"]

_log = logging.getLogger(__name__)

_ASKED = 2.0  # seconds from one look to the next, if nothing happens
_LOOK = 60.0  # seconds after which an outdated replica looks whether it still is
_STALE = 120.0  # seconds unheard of, after which nothing is removed: a watch is heard each minute
_AT_ONCE = 8  # writes in flight
_GOING = 60.0  # seconds for which what was deleted is not deleted again: it may be seen late
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
        self._tender = Tender(core.spec.name, core.namespace, core.client, core.spec.revision)
        self._meter = Meter(core.free, core.line)
        self._reaper = Reaper(core.orphans)
        self._surplus = Surplus()
        self._pace = Pace()
        self._wanted = 0
        self._looked = time.monotonic()
        self._changed = asyncio.Event()
        self._refused: set[str] = set()
        self._failed: set[str] = set()
        self._going: dict[str, float] = {}
        self._made = self._spared = 0  # servers, in this round
        self._rolling = False
        self._task: asyncio.Task[None] | None = None
        core.on_sighting(self._follow)

    def start(self) -> None:
        """Begin; returns at once."""
        self._changed.set()
        self._task = asyncio.create_task(
            self._run(), name=f"podfleet upkeep {self._core.spec.name}"
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
            _log.debug("fleet %s: its Lease runs out by itself: %s", self._core.spec.name, error)

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
                )
        if pod is not None and is_offered and seen.ready and turn_of(pod) == 0:
            self._pace.succeeded()
        self._tell_rolled()
        if self._core.free.offered < self._wanted or self._core.free.outdated or self._refused:
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
                await self._follow_template()
                if not self._plan():
                    continue
                was_outdated = self._tender.outdated
                if not await self._tender.take():
                    await asyncio.sleep(random.uniform(*_OTHERS_TURN))
                    self._changed.set()
                    continue
                if self._tender.outdated and not was_outdated:
                    self._say_outdated()
                # Anew: the fleet may have a newer template, as is known since the Lease was read.
                failures = 0 if await self._carry_out(self._plan()) else failures + 1
            except PodfleetError as error:
                failures += 1
                _log.warning("fleet %s: not tended yet: %s", self._core.spec.name, error)
            except Exception:  # a bug here must not leave the fleet empty: say it, and go on
                failures += 1
                _log.exception("fleet %s: tending failed unexpectedly", self._core.spec.name)
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

    async def _follow_template(self) -> None:
        """Have the fleet know this replica's template; learn whether a newer one has come."""
        if self._core.spec.policy is None:
            return  # who keeps no servers has no say in what they are
        tender, was_outdated = self._tender, self._tender.outdated
        if not tender.known:
            await tender.declare()
        elif tender.outdated and time.monotonic() > self._looked + _LOOK:
            await tender.look()
        else:
            return
        self._looked = time.monotonic()
        if tender.outdated and not was_outdated:
            self._say_outdated()

    def _say_outdated(self) -> None:
        _log.warning(
            "fleet %s: it has a newer template than this backend's, %s: this one keeps no servers "
            "ready any more. To go back to it, call roll_out()",
            self._core.spec.name,
            self._core.spec.revision,
        )

    async def roll_out(self) -> None:
        """Make this replica's template the fleet's, though the fleet has had it before."""
        await self._tender.declare(again=True)
        self._changed.set()

    async def hold(self, paused: bool) -> None:
        """Hold the roll-out, or have it go on."""
        await self._tender.hold(paused)
        self._changed.set()

    async def rollout_status(self) -> RolloutStatus:
        """Return how far the roll-out is."""
        await self._tender.look()
        core = self._core
        return RolloutStatus(
            revision=core.spec.revision,
            is_present=not self._tender.outdated,
            paused=self._tender.paused,
            failing=self._pace.failures > 0,
            updated=core.free.offered,
            updated_ready=core.free.ready,
            outdated=core.free.outdated,
            outdated_allocated=core.free.outdated_taken,
        )

    def _plan(self) -> _Plan:
        """Return what is to be done, by what the watch has shown."""
        core, now = self._core, time.monotonic()
        missing = 0
        going: list[tuple[str, Reason]] = []
        if core.spec.policy is not None and not self._tender.outdated:
            load = self._meter.load()
            self._ask(load)
            step = self._step
            missing = self._missing
            outdated = Reason(
                Removal.OUTDATED,
                f"its template is not the fleet's any more: {core.spec.revision} is",
            )
            going += [(name, outdated) for name in core.free.replaceable(step.remove)]
            surplus = self._surplus.of(now, load.free, self._wanted)
            one_too_many = Reason(Removal.SURPLUS, "one too many")
            going += [(name, one_too_many) for name in core.free.dispensable(surplus)]
        going += self._reaper.due()
        if core.status.age > _STALE:
            going.clear()
        # As they are seen now: whatever is written on one from here on spares it.
        self._going = {uid: until for uid, until in self._going.items() if until > now}
        seen = ((core.store.get(name), why) for name, why in going[:_ROUND])
        remove = tuple(
            (pod, why) for pod, why in seen if pod is not None and uid_of(pod) not in self._going
        )
        return _Plan(missing, tuple(self._refused), remove)

    @property
    def _step(self) -> Step:
        """What the roll-out does next; mostly there is none, and it is what is missing."""
        free = self._core.free
        return next_step(
            self._core.spec.rollout,
            wanted=self._wanted,
            new=free.offered,
            new_ready=free.ready,
            old=free.outdated,
            old_ready=free.outdated_ready,
            paused=self._tender.paused,
            failing=self._pace.failures > 0,
        )

    @property
    def _missing(self) -> int:
        """How many servers may be created now."""
        free = self._core.free
        if self._core.spec.policy is None or self._tender.outdated:
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
            )

    async def _carry_out(self, plan: _Plan) -> bool:
        """Do it; return whether the cluster took it all."""
        for name in plan.replace:
            self._replace(name)
        self._made = self._spared = 0
        try:
            await _all(self._remove(pod, why) for pod, why in plan.remove)
            left = plan.create
            while (count := min(left, self._missing, _AT_ONCE)) > 0:
                left -= count
                await _all(self._make() for _ in range(count))
        finally:
            self._tell_scaled()
        return not plan.replace

    def _tell_scaled(self) -> None:
        if self._made or self._spared:
            self._core.events.tell(
                EventKind.SCALED,
                f"{self._wanted} free servers are wanted: {self._made} made, "
                f"{self._spared} too many deleted",
            )

    async def _make(self) -> None:
        core = self._core
        name = new_server_name(core.spec.name)
        numbers = core.ports.take(name)
        try:
            await core.create(name, numbers, None)
            self._made += 1
        except ApiError as error:
            if core.spec.exposure.refused(error):
                core.ports.refuse(name, numbers)
            elif core.store.get(name) is None:
                core.ports.give_back(name, numbers)
            core.abandon(name, Claim())
            raise
        except BaseException:
            core.in_background(self._undo(name, numbers))  # it may be carried out late, unexposed
            raise

    async def _undo(self, name: str, numbers: tuple[int, ...]) -> None:
        """Remove what may have been made; if nothing was, no event frees its numbers."""
        await self._core.abandon(name, Claim())
        if self._core.store.get(name) is None:
            self._core.ports.give_back(name, numbers)

    def _replace(self, name: str) -> None:
        """Remove a server whose numbers others have."""
        pod = self._core.store.get(name)
        self._refused.discard(name)
        if pod is not None:
            self._core.ports.refuse(name, self._core.spec.exposure.held_ports(pod))
            self._core.abandon(name, Claim())

    async def _remove(self, pod: Manifest, why: Reason) -> None:
        """Delete a server as it was seen."""
        core, name = self._core, name_of(pod)
        if name in core.free.held:
            return  # a caller here is about to claim it
        core.free.hold(name)
        try:
            if await core.delete_unchanged(pod):
                self._going[uid_of(pod)] = time.monotonic() + _GOING
                core.tally.removed(why.kind)
                self._spared += why.kind is Removal.SURPLUS
                _log.info("%s/%s: deleted: %s", core.namespace, name, why)
        finally:
            core.free.let_go(name)


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all, so many at once; raise what one of them raised when all are done."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(work: Coroutine[Any, Any, None]) -> None:
        async with room:
            await work

    done = await asyncio.gather(*map(one, works), return_exceptions=True)
    for error in done:
        if isinstance(error, BaseException):
            raise error
