"""The main job: allocate, dial, release; many at once, sync and async."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from podfleet import (
    AsyncFleet,
    AsyncFleetServer,
    Cluster,
    Fleet,
    FleetServer,
    NotFound,
    Port,
    ServerState,
    wait_gone,
)
from tests.cluster.fixtures import Backend
from tests.live.arena import (
    eventually,
    eventually_async,
    make,
    over_tcp,
    over_udp,
    own_ports,
    template,
)

SERVERS, PORTS = 40, 30


def test_a_server_is_allocated_dialed_found_and_released(backend: Backend) -> None:
    pool = own_ports(10)
    with make(Fleet, backend, pool) as fleet:
        server = fleet.allocate(session="match-42", labels={"map": "dust"}, timeout=30)

        assert over_udp(server.endpoint) == f"{server.name} hello"
        assert over_tcp(server.endpoint) == f"{server.name} hello"
        assert server.state is ServerState.ALLOCATED
        assert (server.session, server.labels["map"]) == ("match-42", "dust")
        assert server.allocated is not None
        assert server.allocated >= server.created
        assert fleet.find("match-42") == server
        assert fleet.get(server.name) == server
        assert fleet.servers(state="allocated") == [server]
        assert fleet.servers(state=ServerState.READY) == []

        server.release()
        server.release()
        assert fleet.find("match-42") is None
        eventually(lambda: not pool.in_use)
        assert fleet.servers() == []
        with pytest.raises(NotFound, match=server.name):
            fleet.get(server.name)


def test_forty_servers_share_thirty_ports_of_two_nodes(backend: Backend) -> None:
    pool = own_ports(PORTS)
    as_backend = Cluster(kubeconfig=backend.kubeconfig)
    with make(Fleet, backend, pool) as fleet, ThreadPoolExecutor(SERVERS) as threads:
        servers = list(threads.map(lambda _: fleet.allocate(timeout=120), range(SERVERS)))
        _check_each_is_its_own(servers)
        assert sorted(threads.map(_dial, servers)) == sorted(server.name for server in servers)
        list(threads.map(lambda server: server.release(), servers))
        list(threads.map(lambda server: wait_gone(server, cluster=as_backend), servers))
        eventually(lambda: not pool.in_use)
        assert pool.free == PORTS
        assert fleet.servers() == []
    assert backend.pods() == []


def test_forty_servers_share_thirty_ports_async(backend: Backend) -> None:
    pool = own_ports(PORTS)

    async def play() -> None:
        async with make(AsyncFleet, backend, pool) as fleet:
            servers = await asyncio.gather(*(fleet.allocate(timeout=120) for _ in range(SERVERS)))
            _check_each_is_its_own(servers)
            dialed = await asyncio.gather(*(asyncio.to_thread(_dial, one) for one in servers))
            assert dialed == [server.name for server in servers]
            await asyncio.gather(*(server.release() for server in servers))
            await eventually_async(lambda: not pool.in_use, 60)
            assert await fleet.servers() == []

    asyncio.run(play())
    assert backend.pods() == []


def test_the_ports_of_one_server_are_on_one_node_and_each_is_answered(backend: Backend) -> None:
    ports = [Port("game", 7777, "UDP"), Port("chat", 7778, "TCP"), Port("query", 7779, "TCPUDP")]
    many = template(backend, ports=ports, env={"EXTRA_PORTS": "7778,7779"})
    with make(Fleet, backend, template=many) as fleet:
        server = fleet.allocate(timeout=30)
        assert [endpoint.name for endpoint in server.endpoints] == ["game", "chat", "query"]
        assert len({endpoint.host for endpoint in server.endpoints}) == 1
        assert over_udp(server.endpoint) == f"{server.name} hello"
        assert over_tcp(server.endpoint_for("chat")) == f"{server.name} hello"
        assert over_udp(server.endpoint_for("query")) == f"{server.name} hello"
        assert over_tcp(server.endpoint_for("query")) == f"{server.name} hello"


def test_a_session_asked_for_by_many_threads_at_once_is_one_server(backend: Backend) -> None:
    with make(Fleet, backend) as fleet, ThreadPoolExecutor(8) as threads:
        servers = list(threads.map(lambda _: fleet.allocate("one match", timeout=60), range(8)))
        assert len({server.uid for server in servers}) == 1
        assert len(fleet.servers()) == 1


def test_another_replica_finds_the_session_and_may_release_it(backend: Backend) -> None:
    with make(Fleet, backend) as one, make(Fleet, backend) as other:
        server = one.allocate(session="match-7", timeout=30)
        found = other.find("match-7")
        assert found is not None
        assert (found.uid, found.endpoints) == (server.uid, server.endpoints)
        assert other.allocate(session="match-7", timeout=30).uid == server.uid
        other.release(server.name)
        eventually(lambda: one.find("match-7") is None)


def _check_each_is_its_own(servers: list[FleetServer] | list[AsyncFleetServer]) -> None:
    assert len({server.uid for server in servers}) == SERVERS
    assert len({(one.endpoint.host, one.endpoint.port) for one in servers}) == SERVERS
    assert len({server.endpoint.port for server in servers}) == PORTS


def _dial(server: FleetServer | AsyncFleetServer) -> str:
    """Return who answers, if it is the same over UDP and TCP."""
    (udp, _), (tcp, _) = over_udp(server.endpoint).split(), over_tcp(server.endpoint).split()
    assert udp == tcp
    return udp
