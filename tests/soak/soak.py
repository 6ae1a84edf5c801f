"""The soak: day after day of matches and faults, and a night after each in which all is counted."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, field, frozen

from podfleet import AsyncFleet, ServerState
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of, labels_of, name_of
from podfleet.model.names import REVISION, SESSION
from podfleet.model.server import ClaimState, claim_state
from podfleet.waiters.diagnosis import is_ready
from tests.soak import plan
from tests.soak.faults import cause
from tests.soak.haste import haste
from tests.soak.ledger import Ledger
from tests.soak.measure import Footprint, footprint, tables
from tests.soak.plan import CHILDREN, RESIDENTS, Day, Match, Mischief, Trouble
from tests.soak.replica import FREE, Child, Clock, fleet, over, play
from tests.soak.world import Place, World, world

__all__ = ["Result", "Row", "soak"]

# These tell what hangs from what is slow. On an idle machine a night takes 2 to 10 s, and an event
# some hundredths; with ten times its load nights took up to 126 s.
_NIGHT = 240.0  # seconds in which all has to be as it should
_EVENT = 60.0  # seconds in which an event has to come
_LOOK = 0.1  # seconds between two looks
_CHECK = 0.5  # seconds between two looks at who has which server


@frozen
class Row:
    """A day, counted in the night after it.

    Args:
        day: Its number, from 1.
        counts: What became of its sessions.
        troubles: How many things went wrong.
        night: Seconds until all was as it should be.
        wrong: What must not be.
        own: What the residents' process had then.
        world: MB that the cluster's process had then.
        tables: Entries in podfleet's tables, by their place.
    """

    day: int
    counts: Counter[str]
    troubles: int
    night: float
    wrong: list[str]
    own: Footprint
    world: float
    tables: dict[str, int]


@frozen
class Result:
    """What a soak showed.

    Args:
        rows: The days.
        errors: What callers were told, by the errors' classes.
        left: What was there at the end of the soak that was not there before it.
    """

    rows: list[Row]
    errors: Counter[str]
    left: dict[str, int]


@define(eq=False)
class Resident:
    """A replica in this process; its fleet is another after a roll-out."""

    fleet: AsyncFleet
    hearing: asyncio.Task[None]


@define(eq=False)
class Soak:
    """A soak that runs.

    Args:
        world: The world, in its own process.
        place: Where the fleet is.
        clock: The simulated time.
        report: Called with each day's row.
    """

    world: World
    place: Place
    clock: Clock
    report: Callable[[Row], None]
    ledger: Ledger = field(factory=Ledger)
    revision: int = 0
    residents: list[Resident] = field(factory=list)
    children: list[Child] = field(factory=list)
    _tasks: set[asyncio.Task[Any]] = field(factory=set)
    _unseen: set[str] = field(factory=set)
    """Sessions whose replica was killed with them, or while it cleaned up after them: a
    registration may stay until its Pod goes."""

    async def start(self) -> None:
        """Start the replicas."""
        made = fleet(self.place, 0, self.clock)
        await self._there(self.world.apply, made.manifests(self.place.account))
        for _ in range(RESIDENTS):
            self.residents.append(await self._resident())
        self.children = [self._child(number) for number in range(CHILDREN)]

    async def stop(self) -> None:
        """Stop them."""
        for child in self.children:
            child.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for resident in self.residents:
            await resident.fleet.stop()
            await asyncio.wait({resident.hearing})

    async def day(self, number: int, seed: int) -> Row:
        """Live through a day, and the night after it."""
        before, day = self.ledger.counts.copy(), self.clock.day
        fine = len(self.ledger.wrong)
        due: list[Match | Trouble] = [
            *plan.matches(day, f"{seed}.{number}"),
            *(troubles := plan.troubles(day, number, f"{seed}.{number}")),
        ]
        self.clock.began.value = began = time.monotonic()
        checking = asyncio.create_task(self._check())
        for one in sorted(due, key=lambda one: one.at):
            await asyncio.sleep(began + one.at - time.monotonic())
            if isinstance(one, Match):
                self._begin(one)
            else:
                self._spawn(self._go_wrong(one))
        await asyncio.sleep(began + day.seconds - time.monotonic())
        self.clock.began.value = 0.0
        night = time.monotonic()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._there(self.world.mend)
        await self._settle()
        await self._end_check(checking)
        night = time.monotonic() - night
        counts = self.ledger.counts - before
        roots = [resident.fleet for resident in self.residents]
        row = Row(
            number,
            counts,
            len(troubles),
            night,
            self.ledger.wrong[fine:],
            footprint(roots),
            await self._there(self.world.memory),
            tables(roots),
        )
        self.report(row)
        return row

    def _begin(self, match: Match) -> None:
        self.ledger.asked(match.session)
        if match.replica < RESIDENTS:
            self._spawn(self._play(self.residents[match.replica], match))
        else:
            self.children[match.replica - RESIDENTS].play(match)

    async def _play(self, resident: Resident, match: Match) -> None:
        await self._until_over(match.session, play(lambda: resident.fleet, match, self.ledger))

    async def _until_over(self, session: str, living: Awaitable[bool]) -> None:
        try:
            was_there = await living
        except Exception as error:
            self.ledger.failed(session, f"{type(error).__name__}: {error}")
        else:
            await self._account(session, was_there=was_there)

    async def _account(self, session: str, *, was_there: bool) -> None:
        """Have a session accounted for: at the latest when its event has come."""
        deadline = time.monotonic() + _EVENT
        while not self.ledger.settled(session, was_there=was_there):
            if time.monotonic() > deadline:
                self.ledger.unaccounted(session)
                return
            await asyncio.sleep(_LOOK)

    async def _go_wrong(self, trouble: Trouble) -> None:
        self.ledger.counts[trouble.kind.value] += 1
        if trouble.kind is Mischief.KILL:
            await self._kill(int(trouble.chance * CHILDREN))
        elif trouble.kind is Mischief.ROLL:
            await self._roll()
        else:
            await self._there(cause, self.world, trouble)

    async def _kill(self, number: int) -> None:
        """Kill a child, and start another in its place; a resident ends its matches."""
        killed = self.children[number]
        left = killed.kill()
        self.children[number] = self._child(number)
        self._unseen |= left | killed.refused
        for session in left:
            self._spawn(self._end(session))

    async def _end(self, session: str) -> None:
        await self._until_over(session, over(lambda: self.residents[0].fleet, session))

    async def _roll(self) -> None:
        """Deploy another template: replica by replica."""
        self.revision += 1
        for resident in self.residents:
            before, heard = resident.fleet, resident.hearing
            now = await self._resident()
            resident.fleet, resident.hearing = now.fleet, now.hearing
            await before.stop()
            await asyncio.wait({heard})
        for number in range(CHILDREN):
            await self._kill(number)

    async def _resident(self) -> Resident:
        made = fleet(self.place, self.revision, self.clock)
        while True:
            try:
                await made.start()
                break
            except Exception:
                await asyncio.sleep(_LOOK)
        return Resident(made, asyncio.create_task(self._hear(made)))

    async def _hear(self, made: AsyncFleet) -> None:
        async for event in made.events():
            self.ledger.told(event)

    def _child(self, number: int) -> Child:
        def told(what: str, session: str, about: Any) -> None:
            if what == "over":
                self._spawn(self._account(session, was_there=about))
            else:
                getattr(self.ledger, what)(session, about)

        return Child(self.place, self.revision, self.clock, told)

    async def _check(self) -> None:
        """Look again and again at who has which server."""
        while True:
            self.ledger.check(await self._there(self.world.objects, "v1", "pods"))
            failed = [child for child in self.children if child.failed]
            self.ledger.wrong += ["a replica ended by itself"] * len(failed)
            await asyncio.sleep(_CHECK)

    async def _end_check(self, checking: asyncio.Task[None]) -> None:
        checking.cancel()
        await asyncio.wait({checking})
        if not checking.cancelled() and (error := checking.exception()) is not None:
            self.ledger.wrong.append(f"{type(error).__name__} while it was checked: {error}")

    async def _settle(self) -> None:
        """Wait until the night is as it should be; say what is not."""
        deadline = time.monotonic() + _NIGHT
        while why := await self._not_settled():
            if time.monotonic() > deadline:
                self.ledger.wrong += why
                return
            await asyncio.sleep(_LOOK)

    async def _not_settled(self) -> list[str]:
        """Return what is not as it should be by night: exactly the free servers, nothing else."""
        if self.ledger.open or self._tasks:
            return [f"{session} goes on" for session in self.ledger.open]
        pods = await self._there(self.world.objects, "v1", "pods")
        services = await self._there(self.world.objects, "v1", "services")
        leases = await self._there(self.world.objects, "coordination.k8s.io/v1", "leases")
        present = self.residents[0].fleet.revision
        why = [f"Pod {name_of(pod)}: {_shown(pod)}" for pod in pods if not _is_free(pod, present)]
        if len(pods) != FREE:
            why.append(f"{len(pods)} Pods")
        if {name_of(one) for one in services} != {name_of(pod) for pod in pods}:
            why.append(f"Services {sorted(map(name_of, services))}")
        sessions = {name_of(one): annotations_of(one).get(SESSION) for one in leases}
        if left := [name for name, one in sessions.items() if one and one not in self._unseen]:
            why.append(f"Leases {sorted(left)}")
        for number, resident in enumerate(self.residents):
            status = await resident.fleet.status()
            states = {state: count for state, count in status.servers.items() if count}
            if states != {ServerState.READY: FREE}:
                why.append(f"replica {number} sees {states}")
            pool = resident.fleet.exposure.pool
            if pool is not None and len(pool.in_use) != FREE:
                why.append(f"replica {number} has numbers in use: {pool.in_use}")
        return why

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.ledger.wrong.append(f"{type(error).__name__}: {error}")

    async def _there(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Call the world without blocking this loop."""
        return await asyncio.to_thread(work, *arguments)


def _is_free(pod: Manifest, present: str) -> bool:
    is_present = labels_of(pod).get(REVISION) == present
    return is_present and is_ready(pod) and claim_state(pod) is ClaimState.UNCLAIMED


def _shown(pod: Manifest) -> str:
    state = claim_state(pod)
    return f"{pod['status'].get('phase')}, {state and state.value}, ready {is_ready(pod)}"


@asynccontextmanager
async def _running(here: World, day: Day, report: Callable[[Row], None]) -> AsyncIterator[Soak]:
    place = await asyncio.to_thread(here.place)
    running = Soak(here, place, Clock(day), report)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


async def soak(
    days: int, seconds: float, seed: int, report: Callable[[Row], None] = lambda _: None
) -> Result:
    """Run a soak.

    Args:
        days: How many days.
        seconds: What one takes, without its night.
        seed: Says what happens when.
        report: Called with each day's row.
    """
    with haste(), world() as here:
        await asyncio.to_thread(here.place)
        before = footprint([])
        async with _running(here, Day(seconds), report) as running:
            rows = [await running.day(number + 1, seed) for number in range(days)]
        after = footprint([])
    left = {
        what: getattr(after, what) - getattr(before, what)
        for what in ("tasks", "connections")
        if getattr(after, what) > getattr(before, what)
    }
    return Result(rows, running.ledger.errors, left)
