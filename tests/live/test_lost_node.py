"""A Node that is lost takes its matches along, and is made up for."""

from collections.abc import Iterator

import pytest

from podfleet import EventKind, Fleet, FleetEvent, ServerState
from podfleet.fleet.tending import reaper
from podfleet.local import LocalCluster
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make
from tests.live.test_warm import until_ready

pytestmark = pytest.mark.only("embedded", "the real one's nodes are every test's")

LOST_NODE = "node-b"
NOTED = 41  # seconds until Kubernetes calls a silent Node unreachable, and one more
PATIENCE = 300  # seconds: what Kubernetes adds to every Pod as its toleration


@pytest.fixture
def local(backend: Backend) -> Iterator[LocalCluster]:
    cluster = backend.cluster.local
    assert cluster is not None
    yield cluster
    cluster.restore_node(LOST_NODE)


def lost(told: list[FleetEvent]) -> set[str | None]:
    return {one.session for one in told if one.kind is EventKind.LOST}


def test_every_match_of_a_lost_node_is_told_and_free_servers_are_made_elsewhere(
    backend: Backend, local: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_UNREADY", 2.0)  # seconds
    told: list[FleetEvent] = []
    with make(Fleet, backend, ready=4, packing="spread") as fleet:
        fleet.on_event(told.append)
        servers = [fleet.allocate(f"match-{number}", timeout=60) for number in range(20)]
        until_ready(fleet, 4)
        gone = {one.session for one in servers if one.node == LOST_NODE}
        assert 0 < len(gone) < 20

        local.lose_node(LOST_NODE)
        local.advance(NOTED)
        eventually(
            lambda: [one.node for one in fleet.servers(ServerState.READY)] == ["node-a"] * 4, 60
        )
        assert not lost(told)  # they may be played on still: nobody knows
        local.advance(PATIENCE + 1)
        eventually(lambda: lost(told) == gone, 60)
        reasons = {one.reason for one in told if one.kind is EventKind.LOST}
        assert reasons == {f"node {LOST_NODE} does not report"}
        for server in servers:
            found = fleet.find(server.session or "")
            assert (found is None) == (server.session in gone)
