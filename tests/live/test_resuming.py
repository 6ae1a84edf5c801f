"""Whatever the API server does, no server is two clients', and all goes on by itself: how soon."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from podfleet.testing import Fault, FaultyApi
from tests.cluster import etcd
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import API_SERVER
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually
from tests.live.faults import faulty
from tests.live.resuming import Resumed, resuming

AWAY = 5.0  # seconds
METHODS = ("GET", "POST", "PATCH", "DELETE")
Work = Callable[[], object]


@pytest.fixture
def broken(backend: Backend) -> Iterator[tuple[FaultyApi, Backend]]:
    with faulty(backend) as pair:
        yield pair


def measured(
    what: str, backend: Backend, crowd: dict[str, Any], fault: Callable[[], Awaitable[None]]
) -> Resumed:
    found = asyncio.run(resuming(backend, crowd, fault))
    told = ", ".join(f"{count} {name}" for name, count in sorted(found.errors.items()))
    print(
        f"{what}: allocations after {found.allocation:.2f} s, watch after {found.watch:.2f} s; "
        f"callers were told: {told or 'nothing'}"
    )
    return found


def in_thread(*works: Work) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        for work in works:
            await asyncio.to_thread(work)

    return run


def cut(api: FaultyApi) -> None:
    for _ in range(10):
        api.cut_watches()
        time.sleep(0.2)


def answer(status: int) -> Callable[[FaultyApi], None]:
    """Return what has every request answered so, for some seconds."""

    def run(api: FaultyApi) -> None:
        headers = {"Retry-After": "1"} if status == 429 else {}
        for method in METHODS:
            api.fail(Fault(method, "", status=status, headers=headers, times=10**6))
        api.cut_watches()
        time.sleep(AWAY)
        api.faults.clear()

    return run


def lose_replies(api: FaultyApi) -> None:
    for method in METHODS[1:]:
        api.fail(Fault(method, "", lose_reply=True, times=10**6))
    time.sleep(AWAY)
    api.faults.clear()


def black_out(api: FaultyApi) -> None:
    with api.blackout():
        time.sleep(AWAY)


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("watch connections cut for 2 s", cut),
        ("429 with Retry-After for 5 s", answer(429)),
        ("500 for 5 s", answer(500)),
        ("replies lost for 5 s", lose_replies),
        ("a black-out of 5 s", black_out),
    ],
)
def test_on_the_way(
    broken: tuple[FaultyApi, Backend],
    crowd: dict[str, Any],
    what: str,
    fault: Callable[[FaultyApi], None],
) -> None:
    api, backend = broken
    found = measured(what, backend, crowd, in_thread(lambda: fault(api)))
    assert found.allocation < 20
    assert found.watch < 25  # the longest pause between two tries, and what they take


def test_connections_that_are_half_open(
    broken: tuple[FaultyApi, Backend], crowd: dict[str, Any]
) -> None:
    api, backend = broken

    def swallow() -> None:
        with api.half_open():
            time.sleep(AWAY)

    found = measured("connections half-open for 5 s", backend, crowd, in_thread(swallow))
    assert found.allocation < 25
    assert found.watch < 25  # not 90: a request that got no answer is what tells


@pytest.mark.only("real", "an API server of its own is restarted")
def test_the_api_server_itself(backend: Backend, crowd: dict[str, Any], own: Cluster) -> None:
    api_server = own.component(API_SERVER)

    def pause() -> None:
        with api_server.paused():
            time.sleep(AWAY)

    def wait() -> None:
        eventually(own.is_ready, 60)

    def restart_compacted() -> None:
        api_server.stop()
        etcd.compact()
        api_server.start()

    faults: dict[str, tuple[Work, ...]] = {
        "etcd compacted": (etcd.compact,),
        "the API server stopped for 5 s, as by a debugger": (pause,),
        "the API server restarted": (api_server.stop, api_server.start, wait),
        "the API server killed": (api_server.kill, api_server.start, wait),
        "the API server restarted, etcd compacted": (restart_compacted, wait),
    }
    for what, works in faults.items():
        found = measured(what, backend, crowd, in_thread(*works))
        # New servers are there within a second, and wait for the scheduler: refused once by an API
        # server that does not know the rights yet, it tries again after up to half a minute.
        assert found.allocation < 60
        assert found.watch < 25
