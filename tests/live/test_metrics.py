"""What Prometheus is shown of a fleet at work."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from podfleet import (
    AllocationTimeout,
    AsyncFleet,
    Exhausted,
    Fleet,
    FleetGroup,
    GameServer,
    HeadlessDNS,
    ServerError,
    ServerFailed,
    ServerState,
)
from podfleet.fleet.tending import reaper, surplus
from podfleet.metrics import Metrics
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live import arena
from tests.live.arena import eventually, eventually_async, template
from tests.live.faults import faulty
from tests.live.test_warm import until_ready

_Face = TypeVar("_Face", Fleet, AsyncFleet)


def make(face: type[_Face], backend: Backend, **settings: Any) -> _Face:
    """Return a fleet whose servers need no port of a node, which another's Pod may still have: then
    one is made again, and counted."""
    return arena.make(face, backend, **{"exposure": HeadlessDNS(), **settings})


class Shown:
    """What a scrape shows of some fleets: counters and gauges that are not zero."""

    def __init__(self, *fleets: Fleet | AsyncFleet) -> None:
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        for fleet in fleets:
            metrics.watch(fleet)

    def __call__(self, name: str, fleet: str = "arena") -> dict[str, float]:
        """Return the values by the label that is not the fleet."""
        found = {}
        for family in self.registry.collect():
            for sample in family.samples:
                labels = dict(sample.labels)
                if sample.name == f"podfleet_{name}" and labels.pop("fleet") == fleet:
                    found["".join(labels.values())] = sample.value
        return {label: value for label, value in found.items() if value}

    @property
    def text(self) -> str:
        return generate_latest(self.registry).decode()


def test_warm_and_cold_are_counted_apart(backend: Backend) -> None:
    with make(Fleet, backend, ready=1) as keeper:
        shown = Shown(keeper)
        until_ready(keeper, 1)
        assert shown("servers_created_total") == {"ready": 1}
        assert shown("allocations_total") == {}
        # One that runs tells zeros, too.
        assert 'podfleet_allocations_total{fleet="arena",result="timeout"} 0.0' in shown.text
    with make(Fleet, backend) as fleet:
        shown = Shown(fleet)
        until_ready(fleet, 1)
        fleet.allocate("match-1", timeout=30)
        fleet.allocate("match-1", timeout=30)  # its own
        assert shown("allocate_seconds_count") == {"true": 2}
        assert shown("servers_created_total") == {}
        fleet.allocate("match-2", timeout=60)
        assert shown("allocate_seconds_count") == {"true": 2, "false": 1}
        assert shown("allocate_seconds_sum")["false"] > 0
        assert shown("allocations_total") == {"ok": 3}
        assert shown("servers_created_total") == {"allocate": 1}
        assert shown("servers") == {"allocated": 2}
        assert shown("synced") == {"": 1}
        assert shown("watch_age_seconds")[""] < 120


def test_what_is_not_allocated_is_counted_by_its_reason(backend: Backend) -> None:
    broken = template(backend, image="No/Thing")
    with (
        make(Fleet, backend) as whole,
        make(Fleet, backend, name="broken", template=broken) as failing,
    ):
        shown = Shown(whole, failing)
        with pytest.raises(AllocationTimeout):
            whole.allocate(select={"map": "moon"}, timeout=0.5)
        assert shown("allocations_total") == {"timeout": 1}
        with pytest.raises(ServerFailed):
            failing.allocate(timeout=60)
        assert shown("allocations_total", "broken") == {"failed": 1}
        assert shown("servers_created_total", "broken") == {"allocate": 1}
        eventually(lambda: shown("servers_removed_total", "broken") == {"other": 1})
        assert shown("allocate_seconds_count", "broken") == {}


def test_no_room_is_counted_as_exhausted(backend: Backend) -> None:
    nowhere = template(backend, node_selector={backend.namespace: "true"})
    with make(Fleet, backend, template=nowhere) as fleet:
        shown = Shown(fleet)
        with pytest.raises(Exhausted):
            fleet.allocate(timeout=2)
        assert shown("allocations_total") == {"exhausted": 1}


def test_a_cluster_that_does_not_answer_is_counted_as_an_error(backend: Backend) -> None:
    with faulty(backend) as (api, behind), make(Fleet, behind) as fleet:
        shown = Shown(fleet)
        api.fail(Fault("POST", "/pods$", status=500, times=100))
        with pytest.raises(ServerError):
            fleet.allocate(timeout=60)
        api.faults.clear()
        assert shown("allocations_total") == {"error": 1}


def test_callers_that_wait_and_one_who_gives_up(backend: Backend) -> None:
    async def play() -> None:
        fleet = make(AsyncFleet, backend)
        shown = Shown(fleet)
        assert shown("synced") == {}
        async with fleet:
            first = await fleet.allocate(timeout=60)
            mine = {"podfleet.dev/server": first.name}  # no other server has that label
            waiting = asyncio.create_task(fleet.allocate(select=mine, timeout=60))
            # Scraped in another thread, as by Prometheus.
            await eventually_async(lambda: shown("waiting_callers") == {"": 1})
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await asyncio.to_thread(shown, "waiting_callers") == {}
            assert shown("allocations_total") == {"ok": 1, "cancelled": 1}
            assert shown("servers") == {"allocated": 1}
        assert shown("servers") == shown("synced") == {}
        assert shown("allocations_total") == {"ok": 1, "cancelled": 1}  # stopped, not forgotten
        async with fleet:
            await fleet.allocate(timeout=60)
        assert shown("allocations_total") == {"ok": 2, "cancelled": 1}

    asyncio.run(play())


def test_a_fleet_in_several_event_loops_is_shown_once(backend: Backend) -> None:
    fleet = make(AsyncFleet, backend)
    shown = Shown(fleet)
    both = threading.Barrier(2)

    async def play() -> None:
        async with fleet:
            await fleet.allocate(timeout=60)
            await eventually_async(lambda: shown("servers").get("allocated") == 2)
            assert shown.text.count('podfleet_synced{fleet="arena"} 1.0') == 1
            await asyncio.to_thread(both.wait, 60)

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(asyncio.run, play()) for _ in range(2)]:
            done.result()
    assert shown("allocations_total") == {"ok": 2}
    assert shown("synced") == {}


def test_a_scrape_starts_nothing_and_does_not_wait_for_a_busy_fleet(backend: Backend) -> None:
    def asked() -> list[str]:
        return [line for line in api.seen if "watch=true" not in line]  # it comes by itself

    with faulty(backend) as (api, behind):
        fleet = make(Fleet, behind)
        assert "podfleet_servers{" not in Shown(fleet).text
        assert api.seen == []

        async def block() -> None:
            async_fleet = make(AsyncFleet, behind)
            busy = Shown(async_fleet)
            async with async_fleet:
                before = asked()
                told: list[str] = []
                thread = threading.Thread(target=lambda: told.append(busy.text))
                thread.start()
                thread.join(10)  # this loop does nothing else meanwhile
                assert 'podfleet_synced{fleet="arena"} 1.0' in told[0]
                assert asked() == before

        asyncio.run(block())


def test_removed_servers_are_counted_by_their_reason(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surplus, "_LASTS", 1.0)  # seconds
    monkeypatch.setattr(reaper, "_ENDED", 1.0)
    wanted = [2]

    def removed(**counts: int) -> Callable[[], bool]:
        return lambda: shown("servers_removed_total") == counts

    with make(Fleet, backend, ready=lambda load: wanted[0]) as fleet:
        shown = Shown(fleet)
        until_ready(fleet, 2)
        wanted[0] = 1
        eventually(removed(surplus=1))
        wanted[0] = 0
        eventually(removed(surplus=2))
        fleet.allocate(limit=1, timeout=60)
        eventually(removed(surplus=2, ended=1), 60)
        fleet.allocate(timeout=60).release()  # its match is over: the fleet did not remove it
        eventually(lambda: not fleet.servers())
        assert removed(surplus=2, ended=1)()


def test_a_roll_out_is_counted(backend: Backend) -> None:
    with make(Fleet, backend, ready=2) as old:
        until_ready(old, 2)
    newer = template(backend, labels={"map": "desert"})
    with make(Fleet, backend, template=newer, ready=2) as fleet:
        shown = Shown(fleet)
        eventually(lambda: shown("servers_removed_total") == {"outdated": 2}, 60)
        until_ready(fleet, 2)
        assert shown("servers_created_total") == {"ready": 2}


def test_lost_races_are_counted(backend: Backend) -> None:
    """Three backends choose before they can hear of each other's claims: all the same server."""
    with make(Fleet, backend, ready=8) as keeper:
        until_ready(keeper, 8)

    def favourite(server: GameServer) -> float:
        return int(server.name[-4:], 36)

    async def play() -> None:
        fleets = [make(AsyncFleet, backend) for _ in range(3)]
        shown = [Shown(fleet) for fleet in fleets]
        async with AsyncExitStack() as stack:
            for fleet in fleets:
                await stack.enter_async_context(fleet)
            await eventually_async(lambda: all(one("servers") == {"ready": 8} for one in shown))
            calls = [fleet.allocate(prefer=favourite, timeout=60) for fleet in fleets]
            await asyncio.gather(*calls)
        assert sum(one("lost_races_total").get("", 0) for one in shown) >= 2
        assert sum(one("allocations_total")["ok"] for one in shown) == 3

    asyncio.run(play())


def test_a_call_of_a_group_counts_for_the_fleet_that_answered(backend: Backend) -> None:
    with make(Fleet, backend, name="canary", ready=1) as keeper:
        until_ready(keeper, 1)
    fleets = [make(Fleet, backend, name=name) for name in ("stable", "canary")]
    shown = Shown(*fleets)
    with FleetGroup("both", fleets) as both:
        until_ready(fleets[1], 1)
        both.allocate("match-1", timeout=30)
        assert shown("allocate_seconds_count", "canary") == {"true": 1}
        with pytest.raises(AllocationTimeout):
            both.allocate("match-2", select={"map": "moon"}, timeout=0.5)
        assert shown("allocations_total", "stable") == {"timeout": 1}
        assert shown("allocations_total", "canary") == {"ok": 1}


def test_a_reservation_is_one_allocation_when_it_is_taken(backend: Backend) -> None:
    with make(Fleet, backend, ready=1) as fleet:
        shown = Shown(fleet)
        until_ready(fleet, 1)
        reserved = fleet.reserve(60)
        assert shown("servers")[ServerState.RESERVED.value] == 1
        assert shown("allocations_total") == {}
        fleet.allocate("match-1", reservation=reserved, timeout=30)
        assert shown("allocations_total") == {"ok": 1}


FORKED = """
import os, sys
from prometheus_client import CollectorRegistry, generate_latest
from podfleet import *
from podfleet.metrics import Metrics
fleet = Fleet(
    "arena",
    template=GameServerTemplate(image={image!r}, ports=[Port("game", 7777, "UDP")]),
    exposure=HeadlessDNS(),
    namespace={namespace!r},
    cluster=Cluster(kubeconfig={kubeconfig!r}),
)
registry = CollectorRegistry()
Metrics(registry).watch(fleet)
counts = lambda: 'result="ok"}} 1.0' in generate_latest(registry).decode()
fleet.allocate("parent", timeout=60)
assert counts()
worker = os.fork()
if worker == 0:
    try:
        assert b"arena" not in generate_latest(registry)
        fleet.allocate("worker", timeout=60)
        assert counts()
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
assert counts()
"""


def test_a_worker_that_was_forked_counts_from_zero(backend: Backend) -> None:
    make(Fleet, backend, exposure=HeadlessDNS())  # for its rights
    script = FORKED.format(
        image=backend.cluster.image,
        namespace=backend.namespace,
        kubeconfig=str(backend.kubeconfig),
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
