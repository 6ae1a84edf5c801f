"""What two do at once for one session loses no server: none that is ready is thrown away."""

import asyncio
import random
from typing import Any

import pytest

from podfleet import AsyncFleet, AsyncFleetGroup, GameServerTemplate, HeadlessDNS, Port
from podfleet.local import ServerContext
from podfleet.testing import FaultyApi
from tests.cluster.fixtures import Backend
from tests.live.arena import make
from tests.live.faults import faulty

IMAGE = "podfleet.test/quick:1"
TRIES = 40
LONG = 1e6  # seconds


async def quick(context: ServerContext) -> int:
    """Be ready after 30 ms: before the watch has shown how a match ended."""
    try:
        await asyncio.sleep(0.03)
        await asyncio.sleep(LONG)
    except asyncio.CancelledError:
        pass
    return 0


def replica(backend: Backend, kind: str) -> Any:
    def fleet(name: str) -> AsyncFleet:
        pod = {"spec": {"terminationGracePeriodSeconds": 2}}
        template = GameServerTemplate(image=IMAGE, ports=[Port("game", 7777, "TCP")], pod=pod)
        return make(AsyncFleet, backend, template=template, exposure=HeadlessDNS(), name=name)

    return AsyncFleetGroup("g", [fleet("red"), fleet("blue")]) if kind == "group" else fleet("red")


def created(requests: list[str]) -> int:
    return sum(one.startswith("POST") and one.endswith("/pods") for one in requests)


@pytest.mark.only("embedded", "servers start within 30 ms there alone")
@pytest.mark.parametrize("kind", ["fleet", "group", "recycle"])
def test_a_release_and_a_cold_allocate_of_one_session_start_one_server(
    backend: Backend, kind: str
) -> None:
    assert backend.cluster.local is not None
    backend.cluster.local.images[IMAGE] = quick
    chance = random.Random(20)

    async def play(api: FaultyApi, through: Backend) -> list[tuple[int, bool]]:
        replicas = [replica(through, kind) for _ in range(2)]
        told = []
        for each in replicas:
            await each.start()
        for number in range(TRIES):
            session = f"match-{number}"
            before = await replicas[0].allocate(session, timeout=20)
            seen = len(api.seen)
            late = chance.choice([0.0, chance.uniform(0.0, 0.05)])

            async def release(server: Any = before, late: float = late) -> None:
                await asyncio.sleep(late)
                await replicas[0].release(server, recycle=kind == "recycle")

            after, _ = await asyncio.gather(replicas[1].allocate(session, timeout=20), release())
            told.append((created(api.seen[seen:]), after.uid == before.uid))
            await replicas[1].release(after)
        for each in replicas:
            await each.stop()
        return told

    with faulty(backend) as (api, through):
        told = asyncio.run(play(api, through))
    assert sum(not same for _, same in told) > TRIES / 5  # the other were in time for the old one
    assert [count for count, _ in told if count > 1] == []
