"""No loop spins: whatever is refused for good, and whatever is done, few requests are made.

Every public operation is done at once, in fleets of its own, while the API server refuses each
write of one kind in one way, for as long as it lasts.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest

from podfleet import (
    AsyncFleet,
    AsyncFleetGroup,
    GameServer,
    GameServerTemplate,
    HeadlessDNS,
    NodePortPerPod,
    PodfleetError,
    Port,
    ServerState,
    StatefulSet,
)
from podfleet.local import ServerContext
from podfleet.testing import Fault, FaultyApi
from tests.cluster.fixtures import Backend
from tests.live.arena import ANY_NODE, make
from tests.live.faults import faulty

IMAGE = "podfleet.test/instant:1"
SECONDS = 3.0
TIMEOUT = 1.5  # seconds: so that what is done afterwards, to leave nothing, is seen too
PER_OPERATION = 25
"""Requests that an operation makes at most in that time, in the mean, its fleet's upkeep included:
six tries of a write that meets a conflict, with a look each, and the rounds of a back-off."""
LATE = 1.0  # seconds: the last, when all that backs off does so
LATE_OF_ONE = 12
"""Requests of one kind for one object in each of the last seconds: what spins makes dozens."""
METHODS = ("PATCH", "POST", "DELETE")
WRITES = r"/(pods|leases|services|statefulsets)(/|$)"


async def instant(context: ServerContext) -> int:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return 0


def template(**changes: Any) -> GameServerTemplate:
    pod = {"spec": {"terminationGracePeriodSeconds": 1}}
    return GameServerTemplate(image=IMAGE, ports=[Port("game", 7777, "TCP")], pod=pod, **changes)


class Scene:
    """Fleets with servers in every state, and what is done to them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._open = AsyncExitStack()
        self.operations: dict[str, Callable[[], Awaitable[object]]] = {}

    def fleet(self, name: str, **settings: Any) -> AsyncFleet:
        made = {"template": template(), "exposure": HeadlessDNS(), "name": name, **settings}
        return make(AsyncFleet, self._backend, **made)

    async def _started(self, fleet: Any) -> Any:
        self._open.push_async_callback(fleet.stop)
        await fleet.start()
        return fleet

    async def set(self) -> None:
        warm = await self._started(self.fleet("warm", ready=3))
        held = await self._started(self.fleet("held"))
        shared = await self._started(self.fleet("shared", template=template(slots=10)))
        cold = await self._started(self.fleet("cold"))
        ported = await self._started(
            self.fleet("ported", exposure=NodePortPerPod(address=ANY_NODE))
        )
        numbered = await self._started(self.fleet("numbered", workload=StatefulSet(replicas=2)))
        drained = await self._started(self.fleet("drained"))
        group = AsyncFleetGroup("group", [self.fleet("red"), self.fleet("blue")])
        group = await self._started(group)
        servers: dict[str, GameServer] = {}

        async def allocate(name: str, fleet: AsyncFleet, *session: str) -> None:
            servers[name] = await fleet.allocate(*session, timeout=60)

        await asyncio.gather(
            *(allocate(name, held, name) for name in ("released", "recycled")),
            *(allocate(name, shared, name) for name in ("joins", "leaves")),
        )
        servers["reserved"] = await held.reserve(600, timeout=60)
        servers["taken"] = await held.reserve(600, timeout=60)
        servers["killed"] = await held.reserve(600, timeout=60)
        assert self._backend.cluster.local is not None
        self._backend.cluster.local.kill(servers["killed"].name, self._backend.namespace)
        await _until(held, ServerState.ENDED, 1)
        await _until(warm, ServerState.READY, 3)
        unstarted = self.fleet("unstarted", ready=1)
        self._open.push_async_callback(unstarted.stop)
        unset = self.fleet("unset", workload=StatefulSet(replicas=1))
        self._open.push_async_callback(unset.stop)
        self.operations = {
            "allocate warm": lambda: warm.allocate(timeout=TIMEOUT),
            "allocate warm for a session": lambda: warm.allocate("a", timeout=TIMEOUT),
            "allocate cold": lambda: cold.allocate(timeout=TIMEOUT),
            "allocate cold for a session": lambda: cold.allocate("b", timeout=TIMEOUT),
            "allocate on a port": lambda: ported.allocate("c", timeout=TIMEOUT),
            "allocate of a group": lambda: group.allocate("d", timeout=TIMEOUT),
            "allocate of a set": lambda: numbered.allocate("e", timeout=TIMEOUT),
            "allocate a reservation": lambda: held.allocate(
                "f", reservation=servers["taken"], timeout=TIMEOUT
            ),
            "allocate a reservation that is over": lambda: held.allocate(
                "g", reservation=servers["killed"], timeout=TIMEOUT
            ),
            "reserve": lambda: cold.reserve(60, timeout=TIMEOUT),
            "release": lambda: held.release(servers["released"]),
            "recycle": lambda: held.release(servers["recycled"], recycle=True),
            "give back": lambda: held.release(servers["reserved"]),
            "join": lambda: shared.join("joins", slots=2),
            "leave": lambda: shared.leave("leaves"),
            "share": lambda: shared.allocate("h", slots=2, timeout=TIMEOUT),
            "roll out": warm.roll_out,
            "hold": warm.pause_rollout,
            "reconcile": lambda: cold.reconcile(timeout=TIMEOUT),
            "scale up": lambda: numbered.scale(4, timeout=TIMEOUT),
            "scale down": lambda: numbered.scale(0, timeout=TIMEOUT),
            "drain": lambda: drained.drain(timeout=TIMEOUT),
            "start": unstarted.start,
            "start a set": unset.start,
        }

    async def close(self) -> None:
        await self._open.aclose()


async def _until(fleet: AsyncFleet, state: ServerState, count: int) -> None:
    deadline = time.monotonic() + 60
    while (await fleet.status()).servers[state] != count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def _ended(operation: Callable[[], Awaitable[object]]) -> str:
    try:
        async with asyncio.timeout(SECONDS):
            await operation()
    except (PodfleetError, TimeoutError) as error:
        return type(error).__name__
    return "done"


@pytest.mark.only("embedded", "what refuses stands before the API server")
@pytest.mark.parametrize(
    ("method", "status", "reason"),
    [
        *((method, status, None) for method in METHODS for status in (404, 409, 422)),
        ("POST", 409, "AlreadyExists"),
    ],
)
def test_what_is_refused_for_good_is_not_asked_again_and_again(
    backend: Backend, method: str, status: int, reason: str | None
) -> None:
    assert backend.cluster.local is not None
    backend.cluster.local.images[IMAGE] = instant

    async def play(
        api: FaultyApi, through: Backend
    ) -> tuple[list[str], list[str], float, dict[str, str]]:
        scene = Scene(through)
        try:
            await scene.set()
            refusal = Fault(method, WRITES, times=math.inf, status=status, reason=reason)
            fault = api.fail(refusal)
            before = len(api.seen)
            ending = asyncio.gather(*(_ended(one) for one in scene.operations.values()))
            await asyncio.sleep(SECONDS - LATE)
            later, since = len(api.seen), time.monotonic()
            ends = await ending
            await asyncio.sleep(LATE)
            early, late = api.seen[before:later], api.seen[later:]
            seconds = time.monotonic() - since  # more than meant, on a busy machine
            fault.times = 0
            return early, late, seconds, dict(zip(scene.operations, ends, strict=True))
        finally:
            await scene.close()

    with faulty(backend) as (api, through):
        early, late, seconds, ends = asyncio.run(play(api, through))
    assert len(early) + len(late) < PER_OPERATION * len(ends), Counter(early + late).most_common(8)
    of_one = Counter(one for one in late if not one.endswith(("/pods", "/leases")))
    assert all(count <= LATE_OF_ONE * seconds for count in of_one.values()), of_one.most_common(8)
    assert len(late) < 6 * len(ends) * seconds, Counter(late).most_common(8)
    assert ends["allocate a reservation that is over"] == "AllocationError"


@pytest.mark.only("embedded", "what answers stands before the API server")
def test_a_version_that_is_always_too_old_is_listed_ever_more_slowly(backend: Backend) -> None:
    async def play(api: FaultyApi, through: Backend) -> int:
        async with make(AsyncFleet, through, exposure=HeadlessDNS()):
            api.fail(Fault("GET", "/pods.*watch=true", times=math.inf, status=410))
            api.cut_watches()
            await asyncio.sleep(6.0)
            api.faults.clear()
            return api.count("GET /api/v1/namespaces/")

    with faulty(backend) as (api, through):
        assert asyncio.run(play(api, through)) < 30
