"""A backend that is synchronous: what a user's type checker makes of it."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import assert_type

from podfleet import (
    AllocationError,
    AllocationTimeout,
    Buffer,
    Cluster,
    Demand,
    Endpoint,
    EventKind,
    Finding,
    Fleet,
    FleetEvent,
    FleetGroup,
    FleetServer,
    FleetStatus,
    GameServer,
    GameServerTemplate,
    HostPort,
    Load,
    NodeAddress,
    Port,
    PortPool,
    Protocol,
    ServerState,
    wait_ready,
)

template = GameServerTemplate(
    image="ghcr.io/acme/arena:1.4",
    ports=[Port("game", 7777, "UDP"), Port("web", 8080)],
    pod={"spec": {"terminationGracePeriodSeconds": 5}},
)
exposure = HostPort(PortPool(7000, 7999, exclude={7100}), address=NodeAddress(internal=True))


def least_busy(server: GameServer) -> float:
    return len(server.name)


def as_asked(load: Load) -> int:
    return load.waiting + 2


fleet = Fleet("arena", template=template, exposure=exposure, ready=5, packing="spread")
Fleet("arena", template=template, exposure=exposure, ready=3, packing=least_busy)
Fleet("arena", template=template, exposure=exposure, ready=Buffer("20%"), probe=b"ping")
Fleet("arena", template=template, exposure=exposure, ready=Demand(), cluster=Cluster())
Fleet("arena", template=template, exposure=exposure, ready=as_asked, probe=b"ping")


def match() -> Endpoint:
    with fleet as same:
        assert_type(same, Fleet)
        server = same.allocate("match-42", timeout=10, metadata={"map": "dust"}, prefer=least_busy)
        assert_type(server, FleetServer)
        assert_type(server.name, str)
        assert_type(server.restarts, int)
        assert_type(server.unreachable_since, datetime | None)
        assert_type(server.node, str | None)
        assert_type(server.session, str | None)
        assert_type(server.state, ServerState)
        assert_type(server.endpoint, Endpoint)
        assert_type(server.endpoints, tuple[Endpoint, ...])
        assert_type(server.endpoint.host, str)
        assert_type(server.endpoint.port, int)
        assert_type(server.endpoint.protocol, Protocol)
        server.release(recycle=True)
        return server.endpoint


def look() -> None:
    assert_type(fleet.find("match-42"), FleetServer | None)
    assert_type(fleet.get("arena-x"), FleetServer)
    assert_type(fleet.servers(ServerState.READY), list[FleetServer])
    assert_type(fleet.servers("ready"), list[FleetServer])
    assert_type(fleet.status(), FleetStatus)
    assert_type(fleet.preflight(), tuple[Finding, ...])
    assert_type(fleet.reserve(5), FleetServer)
    assert_type(fleet.join("match-42"), FleetServer)
    assert_type(fleet.reconcile(), tuple[str, ...])
    wait_ready("arena-x", namespace="games", timeout=5)


def listen() -> None:
    events = fleet.events()
    assert_type(events, Iterator[FleetEvent])
    for event in events:
        if event.kind is EventKind.LOST and event.server is not None:
            assert_type(event.server, GameServer)
    assert_type(fleet.on_event(print), Callable[[], None])


def fall_back() -> FleetServer:
    group = FleetGroup("arena", [fleet], weights=[1.0])
    try:
        return group.allocate("match-42", allow_unreachable=False)
    except AllocationTimeout as error:
        assert_type(str(error), str)
        raise
    except AllocationError:
        raise
