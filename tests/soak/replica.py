"""Replicas of a backend: residents, which live on, and children, which are killed."""

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Protocol

from attrs import evolve, field, frozen

from podfleet import (
    AsyncFleet,
    Buffer,
    Chain,
    Cluster,
    Demand,
    GameServerTemplate,
    Load,
    NodeAddress,
    NodePortPerPod,
    Port,
    PortPool,
    ScalingPolicy,
    Schedule,
    Window,
)
from podfleet.errors import PodfleetError
from tests.soak.haste import haste
from tests.soak.parent import end_with_parent
from tests.soak.plan import Day, Match
from tests.soak.world import Place

__all__ = ["FREE", "Child", "Clock", "Reports", "fleet", "over", "play"]

FREE = 5
"""Servers that are to be free at night."""
_POOL = (31000, 31199)
_PATIENCE = 8.0  # seconds for an allocation
_END_PATIENCE = 180.0  # seconds until a match that is over has to be known as such
_AGAIN = 0.2  # seconds
_CONTEXT: Any = multiprocessing.get_context("forkserver")

_POLICY = Chain(
    [
        Schedule(
            [
                Window(start="00:00", end="06:00", policy=FREE),
                Window(start="18:00", end="23:00", policy=Buffer("30%", min=10)),
            ],
            zone="Europe/Berlin",
        ),
        Demand(min=6),
    ]
)


@frozen
class Clock:
    """Tells the simulated time to every process.

    Args:
        day: The day.
        began: When it began, on the monotonic clock; 0 by night. All processes see it.
    """

    day: Day
    began: Any = field(factory=lambda: _CONTEXT.Value("d", 0.0))

    def now(self) -> float | None:
        """Return the seconds of the day; ``None`` by night."""
        began = self.began.value
        return min(time.monotonic() - began, self.day.seconds) if began else None


@frozen
class _Simulated(ScalingPolicy):
    """Asks the policy with the simulated time."""

    clock: Clock

    def free(self, load: Load) -> int | None:
        return _POLICY.free(evolve(load, now=self.clock.day.date(self.clock.now())))


class Reports(Protocol):
    """Who is told what becomes of a match."""

    def given(self, session: str, uid: str) -> None:
        """It was given a server."""

    def refused(self, session: str, error: str) -> None:
        """It was given none, as far as its caller knows."""


def fleet(place: Place, revision: int, clock: Clock) -> AsyncFleet:
    """Return a replica's fleet."""
    patience = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    return AsyncFleet(
        "arena",
        template=GameServerTemplate(
            image=place.image,
            ports=[Port("game", 7777, "TCP")],
            env={"ROLLED": str(revision)},
            tolerations=[{"key": "node.kubernetes.io/unreachable", **patience}],
            pod={"spec": {"terminationGracePeriodSeconds": 1}},
        ),
        exposure=NodePortPerPod(PortPool(*_POOL), address=NodeAddress(internal=True)),
        namespace=place.namespace,
        cluster=Cluster(kubeconfig=place.kubeconfig),
        ready=_Simulated(clock),
    )


async def play(at: Callable[[], AsyncFleet], match: Match, reports: Reports) -> bool:
    """Live through a match; return whether its server was there at its end."""
    end = time.monotonic() + match.length
    try:
        server = await at().allocate(match.session, timeout=_PATIENCE)
        reports.given(match.session, server.uid)
        await asyncio.sleep(end - time.monotonic())
    except PodfleetError as error:
        reports.refused(match.session, type(error).__name__)
    return await over(at, match.session)


async def over(at: Callable[[], AsyncFleet], session: str) -> bool:
    """End a match: release its server; return whether there was one."""
    deadline = time.monotonic() + _END_PATIENCE
    while True:
        try:
            server = await at().find(session)
            if server is None:
                return False
            await at().release(server)
            return True
        except PodfleetError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_AGAIN)


class Child:
    """A replica in a process of its own.

    Args:
        place: Where the fleet is.
        revision: Of its template.
        clock: The simulated time.
        told: Called with what it tells: ``("given", session, uid)`` and so on.
    """

    def __init__(
        self, place: Place, revision: int, clock: Clock, told: Callable[..., None]
    ) -> None:
        self.sessions: set[str] = set()
        """Those that it has in hand."""
        self.refused: set[str] = set()
        """Those that it was given no server for: perhaps it cleans up after them still."""
        self._told = told
        self._pipe, end = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(
            target=_live, args=(place, revision, clock, end), daemon=True
        )
        self._process.start()
        end.close()
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._read)

    def play(self, match: Match) -> None:
        """Have it play a match."""
        self.sessions.add(match.session)
        with suppress(OSError):  # one that failed is found by `failed`
            self._pipe.send(match)

    def kill(self) -> set[str]:
        """End it, by SIGKILL; return the sessions that nobody sees to any more."""
        self._process.kill()
        self._process.join()
        self._read()
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._pipe.close()
        self._process.close()
        return self.sessions

    @property
    def failed(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.exitcode is not None

    def _read(self) -> None:
        try:
            while self._pipe.poll():
                what, session, about = self._pipe.recv()
                if what in ("over", "failed"):
                    self.sessions.discard(session)
                elif what == "refused":
                    self.refused.add(session)
                self._told(what, session, about)
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())


@frozen
class _Telling:
    pipe: Connection

    def given(self, session: str, uid: str) -> None:
        self.pipe.send(("given", session, uid))

    def refused(self, session: str, error: str) -> None:
        self.pipe.send(("refused", session, error))


def _live(place: Place, revision: int, clock: Clock, pipe: Connection) -> None:
    """Be a child."""

    async def run() -> None:
        playing: set[asyncio.Task[None]] = set()
        here = fleet(place, revision, clock)

        async def one(match: Match) -> None:
            try:
                was_there = await play(lambda: here, match, _Telling(pipe))
            except Exception as error:
                pipe.send(("failed", match.session, f"{type(error).__name__}: {error}"))
            else:
                pipe.send(("over", match.session, was_there))

        def take() -> None:
            while pipe.poll():
                task = asyncio.create_task(one(pipe.recv()))
                playing.add(task)
                task.add_done_callback(playing.discard)

        while True:
            try:
                await here.start()
                break
            except PodfleetError:
                await asyncio.sleep(_AGAIN)
        asyncio.get_running_loop().add_reader(pipe.fileno(), take)
        await asyncio.Event().wait()

    end_with_parent()
    with haste():
        asyncio.run(run())
