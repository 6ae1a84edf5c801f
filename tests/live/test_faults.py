"""Lost replies, refusals, cut watches, black-outs: each on the way to the real API server."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from podfleet import (
    AllocationTimeout,
    AsyncFleet,
    AsyncFleetGroup,
    Cluster,
    Fleet,
    Forbidden,
    HeadlessDNS,
    ServerError,
    ServerState,
    StatefulSet,
    TransportError,
    WaitTimeout,
)
from podfleet.kube import transport
from podfleet.testing import Fault, FaultyApi
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, over_udp, own_ports
from tests.live.faults import faulty

PODS = r"/pods$"
POD = r"/pods/arena-"


@pytest.fixture
def broken(backend: Backend) -> Iterator[tuple[FaultyApi, Backend]]:
    with faulty(backend) as pair:
        yield pair


def asked_of_pods(api: FaultyApi, words: str = "") -> int:
    """Return how many lists and watches of servers, not of Nodes, contained these words."""
    return sum("/pods?" in request and words in request for request in api.seen)


def watches_pods(api: FaultyApi) -> bool:
    return any("/pods?" in path for path in api.watching)


def test_a_create_whose_reply_is_lost_makes_one_pod(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    api.fail(Fault("POST", PODS, lose_reply=True))
    with make(Fleet, backend) as fleet:
        server = fleet.allocate(timeout=30)
        assert [pod["metadata"]["name"] for pod in backend.pods()] == [server.name]
        assert over_udp(server.endpoint) == f"{server.name} hello"
    assert api.count("POST") == 1  # looked up, not repeated


def test_a_create_that_never_arrived_is_repeated(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    api.fail(Fault("POST", PODS, status=503))
    with make(Fleet, backend) as fleet:
        server = fleet.allocate(timeout=30)
        assert [pod["metadata"]["name"] for pod in backend.pods()] == [server.name]


def test_a_claim_whose_reply_is_lost_holds(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    api.fail(Fault("PATCH", POD, lose_reply=True))
    with make(Fleet, backend) as fleet:
        server = fleet.allocate(session="match-1", timeout=30)
        assert len(backend.pods()) == 1
        assert fleet.servers(ServerState.ALLOCATED) == [server]
    assert api.count("PATCH") == 1


def test_a_release_whose_reply_is_lost_is_done(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    api.fail(Fault("DELETE", POD, lose_reply=True))
    with make(Fleet, backend) as fleet:
        fleet.allocate(timeout=30).release()
        eventually(lambda: not backend.pods())


def test_retry_after_is_obeyed(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    with make(Fleet, backend) as fleet:
        api.fail(Fault("POST", PODS, status=429, headers={"Retry-After": "1"}))
        before = time.monotonic()
        fleet.allocate(timeout=30)
        assert time.monotonic() - before >= 1


def test_an_api_server_that_keeps_failing_is_told_and_leaves_nothing(
    broken: tuple[FaultyApi, Backend],
) -> None:
    api, backend = broken
    pool = own_ports(10)
    with make(Fleet, backend, pool) as fleet:
        api.fail(Fault("POST", PODS, status=500, times=100))
        with pytest.raises(ServerError, match=r"POST .*/pods"):
            fleet.allocate(timeout=60)
        eventually(lambda: not pool.in_use)
    assert backend.pods() == []


def test_a_create_that_is_carried_out_after_we_gave_up_is_removed(
    broken: tuple[FaultyApi, Backend],
) -> None:
    api, backend = broken
    pool = own_ports(10)
    with make(Fleet, backend, pool) as fleet:
        # The API server takes the Pod, but every answer about it is lost: also to the look.
        api.fail(Fault("POST", PODS, lose_reply=True, times=100))
        api.fail(Fault("GET", POD, status=500, times=100))
        with pytest.raises((ServerError, TransportError)):
            fleet.allocate(timeout=60)
        api.faults.clear()
        eventually(lambda: not backend.pods())
        eventually(lambda: not pool.in_use)


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b'{"type": "MODIFIED"}', b'{"type": "NEW", "object": {}}', b'"\xff"'],
)
def test_a_malformed_event_is_skipped(
    broken: tuple[FaultyApi, Backend], line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    api, backend = broken
    with make(Fleet, backend) as fleet:
        eventually(lambda: watches_pods(api))
        api.inject(line)
        fleet.allocate(timeout=30)
        assert asked_of_pods(api, "watch=true") == 1
    assert "makes no sense" in caplog.text


def test_a_version_that_is_too_old_lists_again(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    with make(Fleet, backend) as fleet:
        eventually(lambda: watches_pods(api))
        status = b'{"kind":"Status","code":410,"reason":"Expired","message":"too old"}'
        api.inject(b'{"type":"ERROR","object":' + status + b"}")
        fleet.allocate(timeout=30)
        assert asked_of_pods(api, "limit=500") == 2


def test_a_cut_watch_goes_on_where_it_was(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    with make(Fleet, backend) as fleet:
        fleet.allocate(timeout=30)
        api.cut_watches()
        fleet.allocate(timeout=30)
        assert asked_of_pods(api, "limit=500") == 1  # no new list


def test_a_blackout_while_a_server_starts_is_survived(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    pool = own_ports(10)
    with make(Fleet, backend, pool) as fleet:
        fleet.allocate(session="before", timeout=30)
        with api.blackout():
            for pod in backend.pods():
                backend.delete("pods", pod["metadata"]["name"], grace=1)
            eventually(lambda: not backend.pods())
            quiet = len(api.seen)
            eventually(lambda: len(api.seen) > quiet + 2)
        eventually(lambda: not fleet.servers())
        assert fleet.find("before") is None
        assert not pool.in_use
        assert over_udp(fleet.allocate(timeout=30).endpoint)


def test_a_dead_api_server_is_not_asked_in_a_tight_loop(
    broken: tuple[FaultyApi, Backend],
) -> None:
    api, backend = broken
    with make(Fleet, backend):
        eventually(lambda: len(api.watching) == 2)  # its servers, and cordoned nodes
        with api.blackout():
            before = len(api.seen)
            started = time.monotonic()
            eventually(lambda: time.monotonic() - started > 4)
            asked = Counter(request.partition("?")[0] for request in api.seen[before:])
    assert set(asked) == {f"GET /api/v1/namespaces/{backend.namespace}/pods", "GET /api/v1/nodes"}
    # Six tries at most in four seconds; the HTTP client makes two requests of one where the
    # connection had been used before.
    assert all(2 <= count <= 12 for count in asked.values()), asked


@pytest.mark.only("embedded", "it is the back-off that is looked at")
def test_the_watch_resumes_as_soon_as_another_request_is_answered(
    broken: tuple[FaultyApi, Backend],
) -> None:
    """After an outage the back-off may be long, and a server that is started needs the watch."""
    api, backend = broken
    with make(Fleet, backend, exposure=HeadlessDNS()) as fleet:
        eventually(lambda: watches_pods(api))
        asked = asked_of_pods(api)
        api.fail(Fault("GET", r"/pods\?", times=math.inf, status=503))
        api.cut_watches()
        eventually(lambda: asked_of_pods(api) >= asked + 6)
        api.faults.clear()
        began = time.monotonic()
        fleet.allocate(timeout=30)
        # The sixth pause alone is 3.2 s at least.
        assert time.monotonic() - began < 2.8


def test_a_quiet_fleet_makes_no_requests_but_its_watches(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    with make(Fleet, backend) as fleet:
        fleet.allocate(timeout=30)
        eventually(lambda: api.count("watch=true") == 2)  # its servers, and cordoned nodes
        before = list(api.seen)
        started = time.monotonic()
        eventually(lambda: time.monotonic() - started > 2)
        assert api.seen[len(before) :] == []


def test_a_call_that_outlives_its_fleet_opens_no_connection(
    broken: tuple[FaultyApi, Backend],
) -> None:
    api, backend = broken
    api.fail(Fault("GET", "/leases/arena-", status=500, times=100))

    async def run() -> None:
        fleet = make(AsyncFleet, backend)
        await fleet.start()
        asked = len(api.seen)
        looking = asyncio.create_task(fleet.find("match-1"))
        while len(api.seen) == asked:
            await asyncio.sleep(0.01)
        await fleet.stop()
        stopped = len(api.seen)
        with pytest.raises(TransportError, match="its fleet was stopped"):
            await looking
        assert len(api.seen) == stopped

    asyncio.run(run())


def test_a_half_open_watch_is_doubted_when_a_request_gets_no_answer(
    broken: tuple[FaultyApi, Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_REQUEST_TIMEOUT", 4.0)  # seconds
    api, backend = broken
    with make(Fleet, backend) as fleet:
        server = fleet.allocate("match-1", timeout=30)
        with api.half_open(), pytest.raises(AllocationTimeout):
            fleet.allocate("match-2", timeout=3.5)
        backend.delete("pods", server.name)
        eventually(lambda: not fleet.servers(), 15)  # by itself, a silence tells after 90 s


@pytest.mark.only("embedded", "the silence is the proxy's")
def test_every_call_without_a_timeout_ends_within_the_clusters(
    broken: tuple[FaultyApi, Backend],
) -> None:
    api, backend = broken
    cluster = Cluster(kubeconfig=backend.kubeconfig, timeout=1.0)

    async def run() -> None:
        fleet = make(AsyncFleet, backend, cluster=cluster)
        late = make(AsyncFleet, backend, cluster=cluster, name="late")
        group = AsyncFleetGroup("group", [fleet])
        async with fleet:
            server = await fleet.allocate("match-1", timeout=30)
            api.fail(Fault(".*", "", times=math.inf, silent=True))
            calls = {
                "find": fleet.find("match-1"),
                "release": fleet.release(server, recycle=True),
                "rollout_status": fleet.rollout_status(),
                "reopen": fleet.reopen(),
                "preflight": fleet.preflight(),
                "start": late.start(),
                "group": group.find("match-2"),
            }
            began = time.monotonic()
            ends = await asyncio.gather(*calls.values(), return_exceptions=True)
            took = time.monotonic() - began
            api.faults.clear()
        wrong = {
            name: end
            for name, end in zip(calls, ends, strict=True)
            if not isinstance(end, TransportError)
        }
        assert not wrong
        assert took < 3.0
        assert "find: no result within 1 s (Cluster.timeout)" in str(ends[0])
        await late.stop()

    asyncio.run(run())


def test_a_registration_whose_answer_does_not_come_is_struck(
    broken: tuple[FaultyApi, Backend],
) -> None:
    api, backend = broken
    with make(Fleet, backend, ready=1) as fleet:
        eventually(lambda: fleet.status().servers[ServerState.READY] == 1)
        api.fail(Fault("POST", "/leases$", lose_reply=True))
        api.fail(Fault("GET", "/leases/arena-[0-9a-f]{8}", silent=True))
        with pytest.raises(AllocationTimeout):
            fleet.allocate("match-1", timeout=1.5)
        eventually(lambda: leases(backend) == ["arena-tender"])


def test_a_registration_that_is_carried_out_late_is_struck(
    broken: tuple[FaultyApi, Backend],
) -> None:
    api, backend = broken
    with make(Fleet, backend, ready=1) as fleet:
        eventually(lambda: fleet.status().servers[ServerState.READY] == 1)
        api.fail(Fault("POST", "/leases$", delay=2.0))
        with pytest.raises(AllocationTimeout):
            fleet.allocate("match-1", timeout=1.0)
        eventually(lambda: api.count("DELETE /apis/coordination.k8s.io"))
        eventually(lambda: leases(backend) == ["arena-tender"])


def leases(backend: Backend) -> list[str]:
    """Return the names of the namespace's Leases."""
    return [one["metadata"]["name"] for one in backend.objects("coordination.k8s.io/v1", "leases")]


@pytest.mark.only("embedded", "the refusal is the proxy's")
@pytest.mark.parametrize("session", [None, "match-1"])
def test_a_claim_that_is_refused_fails_at_once(
    broken: tuple[FaultyApi, Backend], session: str | None
) -> None:
    api, backend = broken
    with make(Fleet, backend) as fleet:
        fleet.release(fleet.reserve(60, timeout=30))
        asked = len(api.seen)
        api.fail(Fault("POST|PATCH|DELETE", "/(pods|leases)", times=math.inf, status=403))
        began = time.monotonic()
        with pytest.raises(Forbidden):
            fleet.allocate(session, timeout=20)
        assert time.monotonic() - began < 3.0  # what cannot be given up took 5 s
        written = [one for one in api.seen[asked:] if "-tender" not in one and "GET" not in one]
        assert len(written) == 1
        api.faults.clear()
        assert [one.state for one in fleet.servers()] == [ServerState.READY]


@pytest.mark.only("embedded", "the silence is the proxy's")
def test_scale_ends_within_its_timeout(broken: tuple[FaultyApi, Backend]) -> None:
    api, backend = broken
    workload = StatefulSet(replicas=1)
    with make(Fleet, backend, exposure=HeadlessDNS(), workload=workload) as fleet:
        api.fail(Fault(".*", "", times=math.inf, silent=True))
        began = time.monotonic()
        with pytest.raises(WaitTimeout, match="not brought to 0 servers within 1 s"):
            fleet.scale(0, timeout=1)
        assert time.monotonic() - began < 2.0
        api.faults.clear()
