"""A real Node whose kubelet stands still: for a moment, and for good."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from podfleet import EventKind, Fleet, FleetEvent, ServerState
from podfleet.fleet.tending import reaper
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, over_udp
from tests.live.test_lost_node import check_what_allocate_says
from tests.live.test_warm import until_ready

pytestmark = pytest.mark.only("real", "a kubelet of its own stands still")

BLIP = 20.0  # seconds
MATCHES = 20
LOST, OTHER = "node-b", "node-a"


def test_a_node_that_reports_again_is_told(backend: Backend, own: Cluster) -> None:
    told: list[FleetEvent] = []
    with make(Fleet, backend) as fleet:
        fleet.on_event(told.append)
        with cordoned(backend, OTHER):
            server = fleet.allocate("red", timeout=60)
        assert server.node == LOST
        with own.component(f"kubelet-{LOST}").paused():
            eventually(lambda: in_doubt(told) == {"red"}, 60)
            assert over_udp(server.endpoint) == f"{server.name} hello"  # it runs on, unseen
        until_back(backend)
        eventually(lambda: "red" in {e.session for e in told if e.kind is EventKind.REACHABLE}, 60)
        found = fleet.find("red")
        assert found is not None
        assert (found.uid, found.restarts, found.unreachable_since) == (server.uid, 0, None)
        kinds = [one.kind for one in told if one.session == "red"]
        assert kinds == [EventKind.ALLOCATED, EventKind.UNREACHABLE, EventKind.REACHABLE]


def in_doubt(told: list[FleetEvent]) -> set[str | None]:
    return {one.session for one in told if one.kind is EventKind.UNREACHABLE}


def lost(told: list[FleetEvent]) -> set[str | None]:
    return {one.session for one in told if one.kind is EventKind.LOST}


@contextmanager
def cordoned(backend: Backend, node: str) -> Iterator[None]:
    path = f"/api/v1/nodes/{node}"
    backend.cluster.patch(path, {"op": "add", "path": "/spec/unschedulable", "value": True})
    try:
        yield
    finally:
        backend.cluster.patch(path, {"op": "remove", "path": "/spec/unschedulable"})


def until_back(backend: Backend) -> None:
    eventually(lambda: len(backend.cluster.nodes()) == 2, 60)  # without a taint


def test_a_blip_kills_nothing_and_matches_go_on(backend: Backend, own: Cluster) -> None:
    told: list[FleetEvent] = []
    with make(Fleet, backend, ready=2, packing="spread") as fleet:
        fleet.on_event(told.append)
        servers = [fleet.allocate(f"match-{number}", timeout=60) for number in range(6)]
        assert LOST in {one.node for one in servers}
        until_ready(fleet, 2)
        pods = {pod["metadata"]["uid"] for pod in backend.pods()}
        with own.component(f"kubelet-{LOST}").paused():
            until = time.monotonic() + BLIP
            while time.monotonic() < until:
                for server in servers:
                    assert over_udp(server.endpoint) == f"{server.name} hello"
                time.sleep(0.5)
        until_back(backend)
        until_ready(fleet, 2)
        assert {pod["metadata"]["uid"] for pod in backend.pods()} == pods
        assert not lost(told)
        assert {fleet.find(f"match-{number}") for number in range(6)} == set(servers)


def test_every_match_of_a_lost_node_is_told_and_free_servers_are_made_elsewhere(
    backend: Backend,
    own: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(reaper, "_UNREADY", 2.0)  # seconds
    told: list[FleetEvent] = []
    with make(Fleet, backend, ready=4) as fleet:
        fleet.on_event(told.append)
        with cordoned(backend, OTHER):
            sessions = {f"match-{number}" for number in range(MATCHES)}
            servers = [fleet.allocate(session, timeout=90) for session in sorted(sessions)]
            assert {one.node for one in servers} == {LOST}
            until_ready(fleet, 4)
        try:
            with own.component(f"kubelet-{LOST}").paused():

                def elsewhere() -> bool:
                    free = fleet.servers(ServerState.READY)
                    return [one.node for one in free] == [OTHER] * 4

                eventually(lambda: in_doubt(told) >= sessions, 90)
                assert not lost(told)
                for session in sessions:
                    found = fleet.find(session)
                    assert found is not None
                    assert found.unreachable_since is not None
                check_what_allocate_says(fleet, min(sessions), caplog)
                eventually(elsewhere, 90)
                eventually(lambda: lost(told) == sessions, 120)
                assert [fleet.find(session) for session in sorted(sessions)] == [None] * MATCHES
        finally:
            until_back(backend)
