"""A Node that is lost takes its matches along, and is made up for."""

import logging
from collections.abc import Iterator

import pytest

from podfleet import EventKind, Fleet, FleetEvent, ServerState, ServerUnreachable
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


def of(kind: EventKind, told: list[FleetEvent]) -> set[str | None]:
    return {one.session for one in told if one.kind is kind}


def lost(told: list[FleetEvent]) -> set[str | None]:
    return of(EventKind.LOST, told)


def check_what_allocate_says(fleet: Fleet, session: str, caplog: pytest.LogCaptureFixture) -> None:
    """Check that a session's server in doubt is returned with a warning, or not at all."""
    found = fleet.find(session)
    assert found is not None
    with caplog.at_level(logging.WARNING, logger="podfleet"):
        assert fleet.allocate(session, timeout=30).uid == found.uid
    (record,) = [one for one in caplog.records if "has not reported since" in one.message]
    fields = vars(record)
    assert (fields["podfleet_server"], fields["podfleet_session"]) == (found.name, session)
    with pytest.raises(ServerUnreachable) as caught:
        fleet.allocate(session, timeout=30, allow_unreachable=False)
    error = caught.value
    assert (error.server, error.since) == (found.name, found.unreachable_since)
    assert error.diagnosis is not None
    assert error.diagnosis.reason == "NodeNotReady"
    assert "release the server and allocate again" in str(error)
    again = fleet.find(session)
    assert again is not None
    assert again.uid == found.uid  # the session keeps it


def test_every_match_of_a_lost_node_is_told_and_free_servers_are_made_elsewhere(
    backend: Backend,
    local: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
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
        eventually(lambda: of(EventKind.UNREACHABLE, told) >= gone)
        for server in servers:
            found, is_gone = fleet.find(server.session or ""), server.session in gone
            assert found is not None
            assert (found.state, found.uid) == (ServerState.ALLOCATED, server.uid)
            assert (found.unreachable_since is not None) == is_gone
        in_doubt = min(filter(None, gone))
        check_what_allocate_says(fleet, in_doubt, caplog)
        local.advance(PATIENCE + 1)
        eventually(lambda: lost(told) == gone, 60)
        reasons = {one.reason for one in told if one.kind is EventKind.LOST}
        assert reasons == {f"node {LOST_NODE} does not report"}
        assert of(EventKind.UNREACHABLE, told) - {None} == gone
        assert not of(EventKind.REACHABLE, told)
        for server in servers:
            found = fleet.find(server.session or "")
            assert (found is None) == (server.session in gone)
