"""Warm servers: claimed by one write, chosen by labels, reserved, limited, recycled."""

import asyncio
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import podfleet
from podfleet import (
    AllocationError,
    AllocationTimeout,
    AsyncFleet,
    ConfigurationError,
    Fleet,
    GameServer,
    Port,
    ServerError,
    ServerState,
    TransportError,
    gameserver,
)
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live.arena import GRACE, eventually, make, over_udp, own_ports, template
from tests.live.faults import faulty

READY, STARTING = ServerState.READY, ServerState.STARTING


def until_ready(fleet: Fleet, count: int) -> None:
    eventually(lambda: fleet.status().servers[READY] == count, 60)


def test_a_warm_allocate_is_one_request_and_two_with_a_session(backend: Backend) -> None:
    with faulty(backend) as (api, behind):
        with make(Fleet, behind, ready=6) as keeper:
            until_ready(keeper, 6)
        with make(Fleet, behind, packing="spread") as fleet:
            until_ready(fleet, 6)
            # Each node's address is read once.
            servers = [fleet.allocate(timeout=30) for _ in range(2)]
            before = len(api.seen)
            servers.append(fleet.allocate(timeout=30))
            assert [one.split()[0] for one in api.seen[before:]] == ["PATCH"]
            before = len(api.seen)
            servers.append(fleet.allocate("match-1", timeout=30))
            assert [one.split()[0] for one in api.seen[before:]] == ["POST", "PATCH"]
            for server in servers:
                assert over_udp(server.endpoint) == f"{server.name} hello"


def test_the_pool_is_refilled_and_the_status_tells(backend: Backend) -> None:
    with make(Fleet, backend, ready=3) as fleet:
        until_ready(fleet, 3)
        taken = [fleet.allocate(timeout=30) for _ in range(3)]
        until_ready(fleet, 3)
        status = fleet.status()
        assert status.synced
        assert status.age < 120
        assert status.waiting == 0
        assert status.servers[ServerState.ALLOCATED] == 3
        assert len({server.uid for server in taken}) == 3
        assert fleet.reconcile(timeout=1) == ()  # a warm server is nobody's orphan


def test_another_replica_refills_when_the_tender_is_gone(backend: Backend) -> None:
    one, other = make(Fleet, backend, ready=2), make(Fleet, backend, ready=2)
    with other:
        with one:
            until_ready(other, 2)
        other.allocate(timeout=30)
        until_ready(other, 2)
    assert len(backend.pods()) == 3  # not two at a time


def test_labels_choose_and_fall_back(backend: Backend) -> None:
    desert = template(backend, labels={"map": "desert"})
    forest = template(backend, labels={"map": "forest"})
    with make(Fleet, backend, template=desert, ready=1) as one:
        until_ready(one, 1)
        one.pause_rollout()  # half way through a deploy
    with make(Fleet, backend, template=forest, ready=2) as other:
        until_ready(other, 2)
    with make(Fleet, backend, template=desert) as fleet:
        until_ready(fleet, 2)
        other_version = {"map": "forest", "podfleet.dev/revision": other.revision}
        wish = [{"map": "moon"}, other_version, {"map": "desert"}]
        assert fleet.allocate(select=wish, timeout=30).labels["map"] == "forest"
        assert fleet.allocate(select=wish, timeout=30).labels["map"] == "desert"
        with pytest.raises(AllocationTimeout, match="no server with the labels map=moon became"):
            fleet.allocate(select={"map": "moon"}, timeout=1)
        assert len(backend.pods()) == 2
        with pytest.raises(ConfigurationError, match="select: 'moon': must be labels"):
            fleet.allocate(select="moon")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=r"select\['map'\]: 'a b'"):
            fleet.allocate(select={"map": "a b"})
        for name, value in {
            "select": 5,
            "labels": 0,
            "annotations": "x",
            "metadata": ["x"],
        }.items():
            wrong: Any = {name: value}
            with pytest.raises(ConfigurationError, match=rf"^{name}: .*must be"):
                fleet.allocate(**wrong)


def test_a_function_chooses(backend: Backend) -> None:
    with make(Fleet, backend, ready=4) as fleet:
        until_ready(fleet, 4)
        free = fleet.servers(READY)
        wanted = free[2].name
        server = fleet.allocate(prefer=lambda one: 0 if one.name == wanted else 1, timeout=30)
        assert server.name == wanted


def test_a_function_may_pack_the_fleet(backend: Backend) -> None:
    def backwards(one: GameServer) -> float:
        return -names.index(one.name) if one.name in names else 0

    names: list[str] = []
    with make(Fleet, backend, ready=3) as keeper:
        until_ready(keeper, 3)
        names += [server.name for server in keeper.servers(READY)]
        keeper.stop()
    with make(Fleet, backend, packing=backwards) as fleet:
        until_ready(fleet, 3)
        assert [fleet.allocate(timeout=30).name for _ in range(3)] == names[::-1]
    with pytest.raises(ConfigurationError, match=r"Fleet.packing: 'tight': must be 'packed', "):
        make(Fleet, backend, grant=False, packing="tight")
    slotted = template(backend, slots=2)
    with pytest.raises(ConfigurationError, match="sessions share the fullest goes first"):
        make(Fleet, backend, grant=False, template=slotted, packing=backwards)


@pytest.mark.parametrize("packing", ["packed", "spread"])
def test_servers_are_packed_or_spread_over_the_nodes(backend: Backend, packing: Any) -> None:
    with make(Fleet, backend, packing=packing, ready=8) as fleet:
        until_ready(fleet, 8)
        nodes = Counter(server.node for server in fleet.servers(READY))
        fleet.stop()
    with make(Fleet, backend, packing=packing) as fleet:
        until_ready(fleet, 8)
        taken = Counter(fleet.allocate(timeout=30).node for _ in range(4))
        if packing == "packed":
            fullest = max(nodes.values())
            assert taken.most_common(1)[0][1] == min(4, fullest)
        else:
            assert sorted(taken.values()) == [2, 2]


def test_callers_are_served_in_order_and_one_who_gives_up_swallows_nothing(
    backend: Backend,
) -> None:
    async def play() -> None:
        async with make(AsyncFleet, backend) as fleet:
            first = await fleet.allocate(timeout=30)
            mine = {"podfleet.dev/server": first.name}  # no other server has that label

            waiting = []
            for number in range(4):
                waiting.append(asyncio.create_task(fleet.allocate(select=mine, timeout=30)))
                while (await fleet.status()).waiting < number + 1:
                    await asyncio.sleep(0.01)
            waiting.pop(1).cancel()
            while waiting:
                await asyncio.to_thread(free_again, backend, first.name)
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                assert done == {waiting[0]}
                assert (await waiting.pop(0)).uid == first.uid

    asyncio.run(play())


def free_again(backend: Backend, name: str) -> None:
    """Free a server as its recycling does, without waiting for its process."""
    path = f"/api/v1/namespaces/{backend.namespace}/pods/{name}"
    state = "/metadata/labels/podfleet.dev~1state"
    backend.cluster.patch(path, {"op": "replace", "path": state, "value": "unclaimed"})


def test_what_an_allocation_brings_reaches_the_server_and_goes_with_it(backend: Backend) -> None:
    ports = [Port("game", 7777, "TCPUDP"), Port("web", 8080, "TCP")]
    pod = {"spec": {"restartPolicy": "Always", "terminationGracePeriodSeconds": GRACE}}
    shape = template(
        backend, ports=ports, pod=pod, env={"EXIT_AFTER": "4"}, annotations={"mode": "idle"}
    )
    with make(Fleet, backend, template=shape) as fleet:
        server = fleet.allocate(
            "match-1",
            metadata={"map": "dust", "motd": 'say "hi"\nthere'},
            annotations={"mode": "play"},
            labels={"who": "me"},
            timeout=30,
        )
        assert server.metadata == {"map": "dust", "motd": 'say "hi"\nthere'}
        web = server.endpoint_for("web")

        def told() -> Any:
            with urllib.request.urlopen(f"http://{web.host}:{web.port}/notes", timeout=2) as answer:
                found = podfleet.gameserver._parse(answer.read().decode())
            return found if "podfleet.dev/session" in found else None

        notes = eventually(told)
        assert notes["podfleet.dev/session"] == "match-1"
        assert notes["metadata.podfleet.dev/motd"] == 'say "hi"\nthere'

        fleet.release(server, recycle=True)
        fleet.release(server, recycle=True)
        assert fleet.find("match-1") is None
        assert fleet.get(server.name).state is STARTING  # until it says so
        until_ready(fleet, 1)  # it ended, and was started anew
        again = fleet.allocate("match-2", timeout=30)
        assert again.uid == server.uid
        assert (again.metadata, again.annotations["mode"], "who" in again.labels) == (
            {},
            "idle",
            False,
        )
        server.release()  # of the match that is over: nothing happens
        assert fleet.find("match-2") == again
        leases = backend.objects("coordination.k8s.io/v1", "leases")
        eventually(lambda: len(leases) <= 2)


def test_a_claim_keeps_no_account_of_who_wrote_what(backend: Backend) -> None:
    pod = {"spec": {"restartPolicy": "Always"}}
    shape = template(backend, pod=pod, env={"EXIT_AFTER": "4"})
    with make(Fleet, backend, template=shape) as fleet:
        server = fleet.allocate(timeout=60)
        fleet.release(server, recycle=True)
        until_ready(fleet, 1)  # its node has written meanwhile
        (shown,) = backend.pods()
        assert "managedFields" not in shown["metadata"]


def test_a_limit_ends_the_server(backend: Backend) -> None:
    with make(Fleet, backend) as fleet:
        server = fleet.allocate("match-1", limit=2, timeout=30)
        eventually(lambda: fleet.get(server.name).state is ServerState.ENDED, 30)
        assert fleet.find("match-1") is None
        with pytest.raises(ConfigurationError, match="limit: 0"):
            fleet.allocate(limit=0)


def test_a_reservation_is_taken_given_back_or_runs_out(backend: Backend) -> None:
    with make(Fleet, backend, ready=1) as keeper:
        until_ready(keeper, 1)
    with make(Fleet, backend) as fleet, make(Fleet, backend) as other:
        until_ready(fleet, 1)
        reserved = fleet.reserve(60)
        assert reserved.state is ServerState.RESERVED
        server = fleet.allocate("match-1", reservation=reserved, timeout=30)
        assert (server.uid, server.state) == (reserved.uid, ServerState.ALLOCATED)
        with pytest.raises(AllocationError, match="its reservation is over"):
            fleet.allocate("match-2", reservation=reserved, timeout=30)

    with make(Fleet, backend, ready=1, name="lobby") as keeper:
        until_ready(keeper, 1)
    with make(Fleet, backend, name="lobby") as fleet, make(Fleet, backend, name="lobby") as other:
        until_ready(fleet, 1)
        reserved = fleet.reserve(60)
        eventually(lambda: other.status().servers[ServerState.RESERVED] == 1)
        fleet.release(reserved)
        until_ready(other, 1)
        reserved = fleet.reserve(1)
        began = time.monotonic()
        mine = {"podfleet.dev/server": reserved.name}
        assert other.allocate(select=mine, timeout=30).uid == reserved.uid
        assert time.monotonic() - began > 0.5
        with pytest.raises(AllocationError, match="its reservation is over"):
            fleet.allocate(reservation=reserved, timeout=30)


@pytest.mark.parametrize("session", ["match-1", None])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/leases$"), ("PATCH", "/pods/arena-")], ids=["POST", "PATCH"]
)
def test_replies_that_are_lost_for_good(
    backend: Backend, method: str, path: str, session: str | None
) -> None:
    """The retry for a session gives the same server; without one nothing stays claimed."""
    if session is None and method == "POST":
        return  # there is no such request
    with faulty(backend) as (api, behind):
        with make(Fleet, behind, ready=2) as keeper:
            until_ready(keeper, 2)
        with make(Fleet, behind) as fleet:
            until_ready(fleet, 2)
            api.fail(Fault(method, path, lose_reply=True, times=100))
            api.fail(Fault("GET", path.removesuffix("$"), status=500, times=100))
            with pytest.raises((ServerError, TransportError)):
                fleet.allocate(session, timeout=60)
            api.faults.clear()
            if session is None:
                eventually(lambda: not fleet.servers(ServerState.ALLOCATED))
                return
            server = fleet.allocate(session, timeout=60)
            assert fleet.allocate(session, timeout=60).uid == server.uid
            assert [one.session for one in fleet.servers(ServerState.ALLOCATED)] == [session]


def test_a_fleet_runs_in_each_event_loop_that_uses_it(backend: Backend) -> None:
    fleet = make(AsyncFleet, backend)

    async def allocate(session: str) -> str:
        async with fleet:
            server = await fleet.allocate(session, timeout=60)
            found = await fleet.find(session)
            assert found == server
            return server.uid

    with ThreadPoolExecutor(3) as threads:
        sessions = ["red", "blue", "green"]
        uids = list(threads.map(lambda one: asyncio.run(allocate(one)), sessions))
    assert len(set(uids)) == 3
    assert asyncio.run(allocate("red")) == uids[0]


def test_many_fleets_share_a_process(backend: Backend) -> None:
    pool = own_ports(10)
    fleets = [make(Fleet, backend, pool, name=f"arena-{number}", ready=1) for number in range(3)]
    for fleet in fleets:
        fleet.start()
    servers = [fleet.allocate("same name", timeout=60) for fleet in fleets]
    assert len({server.uid for server in servers}) == 3
    assert len({(one.endpoint.host, one.endpoint.port) for one in servers}) == 3
    for fleet in fleets:
        fleet.stop()


def test_the_helper_knows_when_it_is_not_in_a_pod(tmp_path: Any) -> None:
    assert gameserver.current(str(tmp_path)) is None
    with pytest.raises(TimeoutError):
        gameserver.wait_allocated(timeout=0.1, folder=str(tmp_path))
