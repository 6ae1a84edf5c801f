"""A fleet is taken out of service: nobody's match ends for it, and none begins."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from podfleet import (
    AllocationError,
    ConfigurationError,
    DrainEnded,
    EventKind,
    Fleet,
    FleetDraining,
    FleetEvent,
    FleetGroup,
    HeadlessDNS,
    ServerState,
    StatefulSet,
    WaitTimeout,
)
from podfleet.fleet.tending import tender, upkeep
from podfleet.model.names import DRAINED
from podfleet.testing.proxy import FaultyApi
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, template
from tests.live.faults import faulty
from tests.live.test_warm import until_ready

READY = ServerState.READY


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def running(backend: Backend) -> list[str]:
    """Return the names of the Pods that are not on their way out."""
    metadata = [pod["metadata"] for pod in backend.pods()]
    return sorted(one["name"] for one in metadata if "deletionTimestamp" not in one)


def stands(backend: Backend) -> str:
    """Return what stands on the fleet's Lease."""
    leases = backend.objects("coordination.k8s.io/v1", "leases")
    notes = [one["metadata"].get("annotations") or {} for one in leases]
    return "".join(one.get(DRAINED, "") for one in notes)


@contextmanager
def draining(pool: ThreadPoolExecutor, fleet: Fleet) -> Iterator["Future[None]"]:
    """Have the fleet drained in a thread."""
    done = pool.submit(fleet.drain)
    try:
        eventually(lambda: fleet.status().drained_since)
        yield done
    finally:
        fleet.stop()


def test_matches_go_on_free_servers_go_and_nobody_gets_one(
    backend: Backend, pool: ThreadPoolExecutor
) -> None:
    told: list[FleetEvent] = []
    with make(Fleet, backend, ready=2) as fleet:
        fleet.on_event(told.append)
        until_ready(fleet, 2)
        match = fleet.allocate("match-1", timeout=60)
        until_ready(fleet, 2)
        done = pool.submit(fleet.drain)
        eventually(lambda: running(backend) == [match.name])
        with pytest.raises(FleetDraining, match=r"fleet arena: it is drained since 2.*reopen"):
            fleet.allocate("match-2", timeout=30)
        with pytest.raises(FleetDraining):
            fleet.reserve(10, timeout=30)
        assert fleet.allocate("match-1", timeout=30) == match
        assert fleet.find("match-1") == match
        assert not done.done()
        match.release()
        done.result(60)
        assert not running(backend)
        assert fleet.status().drained_since
        words = "0 free servers are wanted: 0 made, 2 too many deleted"
        eventually(
            lambda: [one for one in told if one.kind is EventKind.SCALED and one.reason == words]
        )
        with pytest.raises(FleetDraining):
            fleet.allocate(timeout=30)

        fleet.reopen()
        until_ready(fleet, 2)
        assert fleet.status().drained_since is None
        assert fleet.allocate("match-2", timeout=60)


def test_the_time_is_up_and_the_drain_goes_on(backend: Backend) -> None:
    with make(Fleet, backend) as fleet:
        servers = sorted(fleet.allocate(timeout=60).name for _ in range(4))
        with pytest.raises(WaitTimeout) as caught:
            fleet.drain(timeout=0.5)
        named = ", ".join(servers[:3])
        words = f"4 server(s) left, 4 with a match: {named}, ...: it is drained still"
        assert words in str(caught.value)
        for name in servers:
            fleet.release(name)
        fleet.drain(timeout=60)
        with pytest.raises(ConfigurationError, match="timeout: -1"):
            fleet.drain(timeout=-1)


def test_who_waits_is_told(backend: Backend, pool: ThreadPoolExecutor) -> None:
    nowhere = template(backend, node_selector={"podfleet.dev/test": "no-such-node"})
    with (
        make(Fleet, backend, template=nowhere) as one,
        make(Fleet, backend, template=nowhere) as other,
    ):
        waiting = [pool.submit(fleet.allocate, timeout=120) for fleet in (one, other, other)]
        eventually(lambda: len(running(backend)) == 3)
        one.drain(timeout=60)
        for caller in waiting:
            with pytest.raises(FleetDraining):
                caller.result(30)
        assert not running(backend)


def test_whoever_drains_may_go_and_whoever_comes_keeps_to_it(backend: Backend) -> None:
    with make(Fleet, backend, ready=3) as keeper:
        until_ready(keeper, 3)
        match = keeper.allocate("match-1", timeout=60)
        until_ready(keeper, 3)
        with (  # as a script of the operators, which keeps no servers itself
            make(Fleet, backend) as script,
            pytest.raises(WaitTimeout, match=f"1 with a match: {match.name}"),
        ):
            script.drain(timeout=0.3)
        eventually(lambda: running(backend) == [match.name], 60)
        eventually(lambda: keeper.status().drained_since)
        with make(Fleet, backend, ready=3) as new:
            eventually(lambda: new.status().drained_since)
            with pytest.raises(FleetDraining):
                new.allocate(timeout=30)
            assert new.find("match-1") == match
            assert running(backend) == [match.name]
            new.reopen()
            until_ready(keeper, 3)


@contextmanager
def drained_by_another(backend: Backend) -> Iterator[tuple[FaultyApi, Backend]]:
    """Give a fleet of three that a script has drained, while the backend that tends it runs."""
    with faulty(backend) as (api, behind), make(Fleet, behind, ready=3) as keeper:
        until_ready(keeper, 3)
        with make(Fleet, behind) as script, pytest.raises(WaitTimeout):
            script.drain(timeout=0.3)
        eventually(lambda: keeper.status().drained_since)
        eventually(lambda: not running(backend))
        yield api, behind


def test_who_has_lost_the_turn_acts_no_more_on_what_it_knew(backend: Backend) -> None:
    """Else it deletes what a fleet that was reopened makes, until it looks again."""
    with drained_by_another(backend) as (api, behind):
        creates = f"POST /api/v1/namespaces/{backend.namespace}/pods"
        before = api.count(creates)
        with make(Fleet, behind, ready=3) as new:
            new.reopen()
            until_ready(new, 3)
        assert api.count(creates) - before == 3


def test_what_a_drain_deletes_is_not_made_anew(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds the turn reads the Lease before it makes what the drain has deleted."""
    monkeypatch.setattr(tender, "_FRESH", 0.0)  # seconds
    monkeypatch.setattr(tender, "_LASTS", 600.0)  # seconds: it has the turn still
    with drained_by_another(backend) as (api, _):
        assert api.count(f"POST /api/v1/namespaces/{backend.namespace}/pods") == 3


DRAINS = """
import sys
from podfleet import *
template = GameServerTemplate(image="none", ports=[Port("game", 7777)])
exposure = HostPort(PortPool(26720, 26729))
cluster = Cluster(kubeconfig=sys.argv[1])
Fleet("arena", template=template, exposure=exposure, cluster=cluster).drain()
"""


def test_whoever_drains_may_be_killed(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_LOOK", 2.0)  # seconds
    with make(Fleet, backend, ready=3) as keeper:
        until_ready(keeper, 3)
        match = keeper.allocate("match-1", timeout=60)
        until_ready(keeper, 3)
        command = [sys.executable, "-c", DRAINS, str(backend.kubeconfig)]
        with subprocess.Popen(command) as process:
            try:
                eventually(lambda: stands(backend))
            finally:
                process.send_signal(signal.SIGKILL)
        eventually(lambda: running(backend) == [match.name], 60)
        match.release()
        keeper.drain(timeout=60)


def test_a_reopened_fleet_is_not_waited_for(backend: Backend, pool: ThreadPoolExecutor) -> None:
    with make(Fleet, backend) as one, make(Fleet, backend) as other:
        one.allocate("match-1", timeout=60)
        with draining(pool, one) as done:
            other.reopen()
            with pytest.raises(DrainEnded, match=r"reopened while it was drained: 1 server\(s\)"):
                done.result(30)
            assert other.allocate(timeout=60)
            other.reopen()  # twice is once


def test_a_drain_ends_with_its_fleet(backend: Backend, pool: ThreadPoolExecutor) -> None:
    with make(Fleet, backend) as fleet:
        match = fleet.allocate("match-1", timeout=60)
        with draining(pool, fleet) as done:
            pass
        with pytest.raises(DrainEnded, match="was stopped while it was drained: it is drained"):
            done.result(30)
        assert fleet.find("match-1") == match


def test_two_may_drain_it(
    backend: Backend, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tender, "_LASTS", 6.0)  # seconds
    with make(Fleet, backend, ready=1) as one, make(Fleet, backend, ready=1) as other:
        until_ready(one, 1)
        match = one.allocate("match-1", timeout=60)
        both = [pool.submit(fleet.drain) for fleet in (one, other)]
        eventually(lambda: all(fleet.status().drained_since for fleet in (one, other)))
        eventually(lambda: running(backend) == [match.name])
        since = {fleet.status().drained_since for fleet in (one, other)}
        assert len(since) == 1
        assert not any(done.done() for done in both)
        match.release()
        for done in both:
            done.result(60)
        assert not running(backend)


def test_no_match_begins_once_it_is_drained(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """Callers of three replicas race with the drain; who gets a server is waited for."""

    def play(fleet: Fleet, ended: list[float]) -> None:
        while True:
            try:
                server = fleet.allocate(timeout=60)
            except FleetDraining:
                return
            time.sleep(0.05)
            ended.append(time.monotonic())
            server.release()

    ended: list[float] = []
    with (
        make(Fleet, backend, ready=3) as one,
        make(Fleet, backend) as other,
        make(Fleet, backend) as drainer,
    ):
        until_ready(one, 3)
        players = [pool.submit(play, fleet, ended) for fleet in (one, one, other, other)]
        eventually(lambda: len(ended) > 4, 60)
        drainer.drain(timeout=120)
        at = time.monotonic()
        assert not running(backend)
        for player in players:
            player.result(30)
        assert max(ended) < at
        assert not running(backend)


def test_sessions_that_share_a_server_go_on(backend: Backend, pool: ThreadPoolExecutor) -> None:
    shared = template(backend, slots=4)
    with (
        make(Fleet, backend, template=shared) as fleet,
        make(Fleet, backend, template=shared) as other,
    ):
        server = fleet.allocate("red", timeout=60)
        other.allocate("blue", timeout=60)
        with draining(pool, fleet) as done:
            assert fleet.join("red", slots=2).name == server.name

            def refused() -> bool:
                try:
                    other.allocate("green", timeout=30)
                except FleetDraining:
                    return True
                other.leave("green")
                return False

            eventually(refused)
            for session in ("red", "blue"):
                fleet.leave(session)
            done.result(60)
            assert not running(backend)


def test_of_a_group_the_others_serve(backend: Backend) -> None:
    stable, canary = (make(Fleet, backend, name=name) for name in ("stable", "canary"))
    with FleetGroup("arena", [stable, canary]) as group:
        stable.drain(timeout=60)
        server = group.allocate("match-1", timeout=60)
        assert server.labels["podfleet.dev/fleet"] == "canary"
        with pytest.raises(WaitTimeout, match="fleet canary"):
            group.drain(timeout=0.5)
        with pytest.raises(AllocationError, match="fleet stable: it is drained") as caught:
            group.allocate(timeout=60)
        assert isinstance(caught.value, FleetDraining)
        group.reopen()
        server = group.allocate(timeout=60)
        assert server.labels["podfleet.dev/fleet"] == "stable"


def test_a_stateful_set_is_not_drained(backend: Backend) -> None:
    settings: dict[str, Any] = {"exposure": HeadlessDNS(), "workload": StatefulSet()}
    with make(Fleet, backend, **settings) as fleet:
        calls: tuple[Callable[[], None], ...] = (fleet.drain, fleet.reopen)
        for call in calls:
            with pytest.raises(ConfigurationError, match="a fleet over a StatefulSet is not"):
                call()
