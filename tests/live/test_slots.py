"""Several sessions on one server: slots are taken and given back by compare-and-set."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from attrs import evolve

from podfleet import ConfigurationError, Exhausted, Fleet, HeadlessDNS, NotFound, ServerState
from podfleet.model.slots import free_slots, sessions_of
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, template
from tests.live.faults import faulty
from tests.live.processes import at_once
from tests.live.test_replicas import REPLICAS, Place, place
from tests.live.test_warm import until_ready

SERVERS, SLOTS = 50, 10


def shared(backend: Backend, slots: int = 3, **settings: Any) -> Fleet:
    return make(Fleet, backend, template=template(backend, slots=slots), **settings)


def test_the_fullest_server_that_fits_is_shared(backend: Backend) -> None:
    with shared(backend, ready=2) as keeper:
        until_ready(keeper, 2)
    with shared(backend) as fleet, shared(backend) as other:
        until_ready(fleet, 2)
        red = fleet.allocate("red", slots=2, timeout=30)
        blue = fleet.allocate("blue", slots=2, timeout=30)
        assert red.uid != blue.uid
        green = fleet.allocate("green", timeout=30)
        assert green.uid in (red.uid, blue.uid)
        found = other.find("green")
        assert found is not None
        assert (found.uid, found.session, found.slots) == (green.uid, "green", 3)
        assert other.allocate("red", slots=2, timeout=30).uid == red.uid  # asked again
        full, room = (red, "blue") if green.uid == red.uid else (blue, "red")
        with pytest.raises(Exhausted, match=r"1 slot\(s\) more, and 0 are free"):
            other.join(full.session or "", slots=1)
        assert other.join(room).sessions == {room: 3}
        with pytest.raises(NotFound, match="'moon' has no server"):
            fleet.join("moon")
        other.leave(room, slots=2)
        eventually(lambda: fleet.join(room, slots=2).sessions == {room: 3})
        for former in (evolve(full, uid="gone"), evolve(full, namespace="elsewhere")):
            with suppress(NotFound):
                fleet.release(former)  # of another server of the session's nothing is ended
        held = fleet.find(full.session or "")
        assert held is not None
        assert held.sessions[full.session or ""] == 2
        green.release()
        full.release()
        fleet.leave("nobody")
        eventually(lambda: fleet.status().servers[ServerState.READY] == 1)
        assert fleet.find("green") is None
        anyone = fleet.allocate(slots=3, timeout=30)
        assert anyone.session is not None
        anyone.release()
        leases = "coordination.k8s.io/v1", "leases"
        kept = {room}
        eventually(
            lambda: (
                kept
                == {
                    lease["metadata"]["annotations"]["podfleet.dev/session"]
                    for lease in backend.objects(*leases)
                    if "podfleet.dev/session" in lease["metadata"].get("annotations", {})
                }
            )
        )


def test_what_does_not_go_together_is_refused(backend: Backend) -> None:
    fleet = shared(backend, grant=False)
    for wrong in ({"metadata": {"map": "dust"}}, {"limit": 5}, {"slots": 4}, {"slots": 0}):
        with pytest.raises(ConfigurationError):
            fleet.allocate("red", **wrong)
    with pytest.raises(ConfigurationError):
        fleet.reserve(5)
    with pytest.raises(ConfigurationError, match="no sessions share a server"):
        make(Fleet, backend, grant=False).join("red")


@pytest.mark.parametrize("asked", ["join", "leave"])
def test_a_change_whose_reply_is_lost_is_made_once(backend: Backend, asked: str) -> None:
    with faulty(backend) as (api, behind), shared(behind, 10) as fleet:
        fleet.allocate("red", slots=5, timeout=30)
        api.fail(Fault("PATCH", "/pods/arena-", lose_reply=True))
        if asked == "join":
            assert fleet.join("red", slots=2).sessions == {"red": 7}
        else:
            fleet.leave("red", slots=2)
            found = fleet.find("red")
            assert found is not None
            assert found.sessions == {"red": 3}


def test_a_change_that_is_asked_again_by_its_name_is_made_once(backend: Backend) -> None:
    with shared(backend, 10) as fleet, shared(backend, 10) as other:
        fleet.allocate("red", slots=1, timeout=30)
        assert fleet.join("red", slots=2, request="ann").sessions == {"red": 3}
        assert other.join("red", slots=2, request="ann").sessions == {"red": 3}
        assert other.join("red", slots=2, request="bob").sessions == {"red": 5}
        for replica in (fleet, other):
            replica.leave("red", slots=2, request="ann")
        assert fleet.join("red").sessions == {"red": 4}
        with pytest.raises(ConfigurationError, match="request: '': must be a string of 1 to"):
            fleet.join("red", request="")


def come_and_go(
    number: int, meet: Callable[[], None], here: Place, seconds: float
) -> dict[str, tuple[str, int]]:
    """Be a replica whose sessions come, grow, shrink and go; return what it has in the end."""
    chance = random.Random(number)

    async def run() -> dict[str, tuple[str, int]]:
        mine: dict[str, tuple[str, int]] = {}
        async with here.fleet() as fleet:
            meet()
            until, made = time.monotonic() + seconds, 0
            while time.monotonic() < until:
                count = chance.randint(1, 3)
                act = chance.choice(["allocate", "join", "leave", "leave"])
                if not mine or (act == "allocate" and sum(has for _, has in mine.values()) < 40):
                    made += 1
                    session = f"{number}-{made}"
                    server = await fleet.allocate(session, slots=count, timeout=60)
                    mine[session] = (server.uid, count)
                    continue
                session = chance.choice(sorted(mine))
                uid, has = mine[session]
                if act == "join":
                    try:
                        await fleet.join(session, slots=count)
                        mine[session] = (uid, has + count)
                    except Exhausted:
                        pass
                elif has <= count:
                    await fleet.leave(session)
                    del mine[session]
                else:
                    await fleet.leave(session, slots=count)
                    mine[session] = (uid, has - count)
        return mine

    return asyncio.run(run())


def test_replicas_never_give_a_slot_twice(
    backend: Backend, crowd: dict[str, Any], thorough: bool
) -> None:
    here = place(backend, {**crowd, "slots": SLOTS})
    with make(
        Fleet, backend, template=here.template, exposure=HeadlessDNS(), ready=SERVERS
    ) as fleet:
        eventually(lambda: fleet.status().servers[ServerState.READY] == SERVERS, 120)
    kept = at_once(REPLICAS, come_and_go, here, 60.0 if thorough else 10.0)
    expected = {session: has for mine in kept for session, has in mine.items()}
    shown = {
        session: (pod["metadata"]["uid"], slots)
        for pod in backend.pods()
        for session, slots in sessions_of(pod).items()
    }
    assert shown == expected
    assert min(map(free_slots, backend.pods())) >= 0
    assert len(backend.pods()) == SERVERS
