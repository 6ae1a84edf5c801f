"""What a fleet does by itself: servers are made as its policy says, and those of no use removed."""

import logging
import re
import time
from collections.abc import Callable

import pytest

from podfleet import (
    Buffer,
    ConfigurationError,
    EventKind,
    Fleet,
    FleetEvent,
    HeadlessDNS,
    Load,
    ServerState,
    StatefulSet,
)
from podfleet.fleet.tending import reaper, surplus
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, own_ports, template
from tests.live.faults import faulty
from tests.live.test_warm import until_ready

READY = ServerState.READY


def test_a_policy_says_how_many_are_kept(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surplus, "_LASTS", 1.0)  # seconds
    wanted, asked = [2], list[Load]()

    def policy(load: Load) -> int:
        asked.append(load)
        if wanted[0] < 0:
            raise ValueError("a mistake in the policy")
        return wanted[0]

    told: list[FleetEvent] = []

    def scaled(words: str) -> bool:
        return any(one.kind is EventKind.SCALED and words in one.reason for one in told)

    with make(Fleet, backend, ready=policy) as fleet:
        fleet.on_event(told.append)
        until_ready(fleet, 2)
        taken = fleet.allocate(timeout=60)
        until_ready(fleet, 2)
        eventually(lambda: asked[-1].allocated == 1)
        assert asked[-1].rate > 0
        assert asked[-1].now.utcoffset() is not None
        wanted[0] = -1
        count = len(asked)
        eventually(lambda: len(asked) > count + 1)
        until_ready(fleet, 2)  # what it said last counts
        wanted[0] = 4
        until_ready(fleet, 4)
        wanted[0] = 0
        eventually(lambda: [one.uid for one in fleet.servers()] == [taken.uid], 60)
        assert scaled("2 free servers are wanted: 1 made, 0 too many deleted")
        eventually(lambda: scaled("0 free servers are wanted: 0 made, "))
        wanted[0] = 1
        until_ready(fleet, 1)
        assert fleet.get(taken.name).state is ServerState.ALLOCATED


def test_a_replica_that_was_not_asked_to_keep_servers_leaves_them_alone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surplus, "_LASTS", 0.5)  # seconds
    with make(Fleet, backend, ready=Buffer(2)) as keeper:
        until_ready(keeper, 2)
    looked = []
    with make(Fleet, backend) as fleet:
        until_ready(fleet, 2)
        with make(Fleet, backend, name="other", ready=lambda load: looked.append(load)):
            eventually(lambda: len(looked) >= 4)  # every other second
        assert fleet.status().servers[READY] == 2
    with make(Fleet, backend, ready=0) as fleet:
        eventually(lambda: not fleet.servers())


def test_servers_of_no_use_go(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "_ENDED", 1.0)  # seconds
    monkeypatch.setattr(reaper, "_UNREADY", 3.0)
    with make(Fleet, backend) as fleet:
        ended = fleet.allocate("match-1", limit=1, timeout=60)
        played = fleet.allocate("match-2", timeout=60)
        eventually(lambda: ended.name not in [one.name for one in fleet.servers()], 60)
        assert fleet.find("match-2") == played


def test_a_template_that_fails_is_told_once_and_makes_few_servers(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def made() -> int:
        return len([line for line in api.seen if re.match(r"POST .*/pods$", line)])

    with faulty(backend) as (api, behind):
        broken = template(backend, image="No/Thing")
        with (
            caplog.at_level(logging.ERROR, "podfleet"),
            make(Fleet, behind, template=broken, ready=3),
        ):
            eventually(lambda: made() > 4, 60)  # it is tried again, one by one
            assert made() <= 6
        told = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
        assert len(told) == 1
        assert "InvalidImageName" in told[0]
        assert "will never be ready; others like it are made ever more slowly" in told[0]


def test_few_servers_wait_for_a_node_and_all_come_when_there_is_one(backend: Backend) -> None:
    name = backend.namespace
    node = backend.cluster.nodes()[0]["metadata"]["name"]
    label = f"/metadata/labels/{name}"
    shape = template(backend, node_selector={name: "true"})
    wanted, asked = [8], list[Load]()

    def policy(load: Load) -> int:
        asked.append(load)
        return wanted[0]

    with make(Fleet, backend, template=shape, ready=policy) as fleet:

        def tried() -> int:
            """Return how many the scheduler has found no node for."""
            conditions = [pod["status"].get("conditions") or [] for pod in backend.pods()]
            return sum(any(one["type"] == "PodScheduled" for one in each) for each in conditions)

        eventually(lambda: tried() == 8)
        wanted[0], before = 40, len(asked)
        eventually(lambda: len(asked) > before + 3)
        assert len(backend.pods()) == 8  # no more than those for which there is no node
        backend.cluster.patch(
            f"/api/v1/nodes/{node}", {"op": "add", "path": label, "value": "true"}
        )
        try:
            until_ready(fleet, 40)
        finally:
            backend.cluster.patch(f"/api/v1/nodes/{node}", {"op": "remove", "path": label})


def test_a_server_that_was_never_made_keeps_no_number(backend: Backend) -> None:
    pool = own_ports(10)
    with faulty(backend) as (api, behind):
        cut = api.fail(Fault("POST", "/pods$", times=6))
        with make(Fleet, behind, pool, ready=1) as fleet:
            until_ready(fleet, 1)
            assert cut.times == 0
            eventually(lambda: len(pool.in_use) == 1)


@pytest.mark.parametrize(
    ("ready", "said"),
    [
        (-1, "Fleet.ready: -1: "),
        ("20%", "must be a number of servers, a policy such as Buffer"),
        (Buffer, "must be a number of servers, a policy such as Buffer"),
    ],
)
def test_what_is_no_policy_is_refused(
    backend: Backend, ready: Callable[..., int], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        make(Fleet, backend, grant=False, ready=ready)


def test_a_stateful_set_has_replicas(backend: Backend) -> None:
    with pytest.raises(ConfigurationError, match="a StatefulSet has replicas"):
        make(Fleet, backend, grant=False, exposure=HeadlessDNS(), workload=StatefulSet(), ready=1)


@pytest.mark.only("embedded", "a real kubelet goes on writing, and a delete of what was is refused")
def test_what_is_deleted_is_deleted_once_though_nothing_shows_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_ENDED", 2.0)  # seconds
    with faulty(backend) as (api, behind), make(Fleet, behind) as fleet:
        server = fleet.allocate("match-1", limit=1, timeout=60)
        eventually(lambda: fleet.get(server.name).state is ServerState.ENDED)
        api.fail(Fault("GET", "watch=true", status=500, times=1000))
        api.cut_watches()

        def deletes() -> int:
            return len([line for line in api.seen if line.startswith("DELETE")])

        eventually(lambda: deletes() == 1)
        looked = time.monotonic() + 5  # it looks every other second
        while time.monotonic() < looked:
            assert deletes() == 1
            time.sleep(0.1)
        assert server.name in [one.name for one in fleet.servers()]
        api.faults.clear()
        eventually(lambda: not fleet.servers(), 60)
