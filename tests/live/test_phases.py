"""A timeout is for everything together, and its error names the phase and what was seen."""

import asyncio
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from attrs import frozen

from podfleet import (
    AllocationPhase,
    AllocationTimeout,
    AsyncFleet,
    ClusterView,
    Endpoint,
    ExposureStrategy,
    Fleet,
    FleetGroup,
    GameServerTemplate,
    Port,
    ServerState,
    WaitTimeout,
)
from podfleet.model import Manifest
from podfleet.testing import Fault, FaultyApi
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, own_ports, template
from tests.live.faults import faulty
from tests.live.test_cleanup import stuck

pytestmark = pytest.mark.only("embedded", "the client's own time; the cluster has no part in it")

LATE = 0.5  # seconds at most that an error may come after the time is up
ALWAYS = 1000  # times
GAME = Port("game", 7777)
THROTTLED: dict[str, Any] = {"status": 429, "headers": {"Retry-After": "5"}, "times": ALWAYS}


@pytest.fixture
def broken(backend: Backend) -> Iterator[tuple[FaultyApi, Backend]]:
    with faulty(backend) as pair:
        yield pair


@contextmanager
def times_out(phase: AllocationPhase, seconds: float) -> Iterator[pytest.ExceptionInfo[Any]]:
    """Expect the error of a phase, in time."""
    before = time.monotonic()
    with pytest.raises(AllocationTimeout) as caught:
        yield caught
    took = time.monotonic() - before
    assert seconds - 0.2 <= took <= seconds + LATE, f"{took:.2f} s: {caught.value}"
    assert caught.value.phase is phase, caught.value


class Nowhere(ExposureStrategy):
    """Never knows where its servers are."""

    def endpoints(
        self, pod: Manifest, template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        return None


@frozen
class Case:
    phase: AllocationPhase
    fault: Fault | None
    says: str
    warm: bool = False
    settings: Callable[[Backend], dict[str, Any]] = lambda _: {}


HANGING = r"had not been answered for \d\.\d s"
CASES = {
    "the list is not answered": Case(
        AllocationPhase.LIST,
        Fault("GET", "/pods[?]", ALWAYS, silent=True),
        rf"fleet arena was still being started: GET \S+/pods {HANGING}$",
    ),
    "the list is throttled": Case(
        AllocationPhase.LIST,
        Fault("GET", "/pods[?]", **THROTTLED),
        r"the API server throttles: GET \S+/pods got 429 1 time\(s\), Retry-After: 5 s$",
    ),
    "the create takes 12 s": Case(
        AllocationPhase.CREATE,
        Fault("POST", "/pods$", delay=12.0),
        rf"its Pod was being created: POST \S+/pods {HANGING}$",
    ),
    "the create is throttled": Case(
        AllocationPhase.CREATE,
        Fault("POST", "/pods$", **THROTTLED),
        r"its Pod was being created: the API server throttles: POST \S+/pods got 429 1 time",
    ),
    "an image cannot be pulled": Case(
        AllocationPhase.PULL,
        None,
        r"/arena-\w+: no server within 1\.5 s: \w+: the image 'localhost:1/none'",
        settings=lambda _: {"template": GameServerTemplate(image="localhost:1/none", ports=[GAME])},
    ),
    "it is not ready": Case(
        AllocationPhase.READY,
        None,
        r"/arena-\w+: no server within 1\.5 s: .*its readiness probe",
        settings=lambda backend: {"template": stuck(backend)},
    ),
    "its endpoint is not known": Case(
        AllocationPhase.ENDPOINT,
        None,
        r"/arena-\w+: no server within 1\.5 s: its endpoint was not known: Nowhere",
        settings=lambda _: {"exposure": Nowhere()},
    ),
    "it does not answer the probe": Case(
        AllocationPhase.PROBE,
        None,
        "did not answer from here",
        settings=lambda backend: {
            "template": template(backend, ports=[Port("game", 7999, "TCP")]),
            "probe": True,
        },
    ),
    "the claim is not answered": Case(
        AllocationPhase.CLAIM,
        Fault("PATCH", "/pods/arena-", ALWAYS, silent=True),
        rf"/arena-\w+: no server within 1\.5 s: it was being claimed: PATCH \S+ {HANGING}$",
        warm=True,
    ),
    "the session is not registered": Case(
        AllocationPhase.CLAIM,
        Fault("POST", "/leases$", ALWAYS, silent=True),
        rf"it was being claimed: POST \S+/leases {HANGING}$",
        warm=True,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_phase_and_what_was_seen(broken: tuple[FaultyApi, Backend], name: str) -> None:
    api, backend = broken
    case = CASES[name]
    pool = own_ports(10)
    settings = case.settings(backend)
    with make(Fleet, backend, pool, **settings) as fleet:
        if case.warm:
            with make(Fleet, backend, pool, ready=1) as keeper:
                eventually(lambda: keeper.status().servers[ServerState.READY])
        if case.phase is AllocationPhase.LIST:
            fleet.stop()
        if case.fault is not None:
            api.fail(case.fault)
        with times_out(case.phase, 1.5) as caught:
            fleet.allocate("match-1", timeout=1.5)
        assert caught.match(case.says)
        api.faults.clear()
        if not case.warm:
            eventually(lambda: not backend.pods())
            eventually(lambda: not pool.in_use)
        if not settings:
            assert fleet.allocate("match-2", timeout=30).session == "match-2"


@contextmanager
def listening() -> Iterator[int]:
    """Give a port on which every connection is taken, and none is answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("phase", [AllocationPhase.CONNECT, AllocationPhase.CREDENTIALS])
def test_without_a_connection_and_without_credentials(
    backend: Backend, phase: AllocationPhase
) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", "import time; time.sleep(60)"],
        "interactiveMode": "Never",
    }
    with listening() as port:
        config = json.loads(backend.kubeconfig.read_text())
        if phase is AllocationPhase.CONNECT:
            config["clusters"][0]["cluster"] = {"server": f"https://127.0.0.1:{port}"}
        else:
            config["users"][0]["user"] = {"exec": plugin}
        backend.kubeconfig.write_text(json.dumps(config))

        async def play() -> None:
            async with asyncio.timeout(10):
                fleet = make(AsyncFleet, backend, grant=False)
                with times_out(phase, 1.0):
                    await fleet.allocate("match-1", timeout=1.0)
                with times_out(phase, 0.5):
                    await fleet.allocate("match-1", timeout=0.5)
                before = time.monotonic()
                await fleet.stop()
                assert time.monotonic() - before < 4

        asyncio.run(play())


def test_a_start_goes_on_for_the_next_call(broken: tuple[FaultyApi, Backend]) -> None:
    """Who allocates with little time gets a server in the end, though the list is slow."""
    api, backend = broken
    fleet = make(Fleet, backend)
    api.fail(Fault("GET", "/pods[?]", delay=1.5))
    try:
        with times_out(AllocationPhase.LIST, 0.5):
            fleet.allocate("match-1", timeout=0.5)
        assert fleet.allocate("match-1", timeout=30).session == "match-1"
        assert sum("/pods?" in one and "limit=" in one for one in api.seen) == 1
    finally:
        fleet.stop()


def test_those_that_wait_in_the_queue(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken

    async def play() -> None:
        async with make(AsyncFleet, backend) as fleet:
            server = await fleet.allocate("match-1", timeout=30)
            with times_out(AllocationPhase.QUEUE, 0.5) as caught:
                await fleet.allocate("match-2", timeout=0.5, select={"map": "moon"})
            assert caught.match("no server with the labels map=moon became free")
            api.fail(Fault("GET", f"/pods/{server.name}$", ALWAYS, silent=True))
            first = asyncio.create_task(fleet.allocate("match-1", timeout=3))
            await asyncio.sleep(0)
            with times_out(AllocationPhase.QUEUE, 0.5) as caught:
                await fleet.allocate("match-1", timeout=0.5)
            assert caught.match("another call for session 'match-1' was not done")
            with pytest.raises(AllocationTimeout) as claiming:
                await first
            assert claiming.value.phase is AllocationPhase.CLAIM
            assert "session 'match-1' has a server, which was not read" in str(claiming.value)

    asyncio.run(play())


def test_reserve_and_a_group_and_drain_keep_their_time(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    with FleetGroup("both", [make(Fleet, backend, name=one) for one in ("red", "blue")]) as group:
        api.fail(Fault("POST", "/pods$", ALWAYS, silent=True))
        with times_out(AllocationPhase.CREATE, 1.0) as caught:
            group.allocate("match-1", timeout=1.0)
        assert caught.match(r"fleet red: no server within 1 s: its Pod was being created: POST ")
        with times_out(AllocationPhase.CREATE, 1.0):
            group.reserve(10, timeout=1.0)
        api.fail(Fault("GET", "/leases/red-tender", ALWAYS, silent=True))
        api.fail(Fault("PATCH", "/leases/red-tender", ALWAYS, silent=True))
        before = time.monotonic()
        with pytest.raises(WaitTimeout, match=r"whether it is drained is not known: .* /apis/"):
            group.fleets[0].drain(timeout=1.0)
        assert time.monotonic() - before < 1.0 + LATE
        api.faults.clear()
