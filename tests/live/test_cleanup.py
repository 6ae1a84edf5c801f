"""Nothing leaks: timed out, cancelled, interrupted, stopped, killed."""

import asyncio
import gc
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from podfleet import (
    AllocationError,
    AllocationTimeout,
    AsyncFleet,
    Fleet,
    GameServerTemplate,
    ServerState,
    TransportError,
)
from podfleet.fleet.tending import tender
from tests.cluster.fixtures import Backend
from tests.live.arena import (
    GRACE,
    eventually,
    eventually_async,
    make,
    over_udp,
    own_ports,
    template,
)

NEVER_READY: dict[str, Any] = {
    "spec": {
        "terminationGracePeriodSeconds": GRACE,
        "containers": [
            {
                "name": "server",
                "readinessProbe": {
                    "httpGet": {"path": "/healthz", "port": 8080},
                    "periodSeconds": 1,
                },
            }
        ],
    }
}


def stuck(backend: Backend) -> GameServerTemplate:
    """Return a template whose servers start, and never become ready."""
    return template(backend, env={"NEVER_READY": "1"}, pod=NEVER_READY)


def test_a_timeout_leaves_no_pod_and_no_port(backend: Backend) -> None:
    pool = own_ports(10)
    with make(Fleet, backend, pool, template=stuck(backend)) as fleet:
        before = time.monotonic()
        with pytest.raises(AllocationTimeout) as caught:
            fleet.allocate(timeout=3)
        assert time.monotonic() - before < 6
        assert caught.value.diagnosis is not None
        eventually(lambda: not backend.pods())
        eventually(lambda: not pool.in_use)


@pytest.mark.parametrize("after", [0.0, 0.02, 0.1, 0.4, 0.7, 1.0])
def test_a_cancelled_allocate_leaves_no_pod_and_no_port(backend: Backend, after: float) -> None:
    """Whenever it comes: before the create, in it, while it waits, in the claim."""
    pool = own_ports(10)

    async def play() -> None:
        async with make(AsyncFleet, backend, pool) as fleet:
            task = asyncio.create_task(fleet.allocate(timeout=30))
            await asyncio.wait({task}, timeout=after)
            task.cancel()
            try:
                server = await task
            except asyncio.CancelledError:
                pass
            else:
                await server.release()  # it was there before the cancel
            await eventually_async(lambda: not backend.pods())
            await eventually_async(lambda: not pool.in_use)

    asyncio.run(play())


def test_a_timeout_of_the_callers_own_is_a_cancellation(backend: Backend) -> None:
    pool = own_ports(10)

    async def play() -> None:
        async with make(AsyncFleet, backend, pool, template=stuck(backend)) as fleet:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await fleet.allocate(timeout=30)
            await eventually_async(lambda: not pool.in_use)

    asyncio.run(play())
    eventually(lambda: not backend.pods())


def test_stopping_the_fleet_ends_its_allocations(backend: Backend) -> None:
    pool = own_ports(10)

    async def play() -> None:
        fleet = make(AsyncFleet, backend, pool, template=stuck(backend))
        await fleet.start()
        task = asyncio.create_task(fleet.allocate(timeout=30))
        await eventually_async(backend.pods)
        await fleet.stop()
        with pytest.raises(AllocationError, match="stopped"):
            await task

    asyncio.run(play())
    eventually(lambda: not backend.pods())


SCRIPT = """
import signal, sys
from podfleet import *
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs begin with it ignored
fleet = Fleet(
    "arena",
    template=GameServerTemplate(
        image={image!r},
        ports=[Port("game", 7777, "TCPUDP")],
        env={env!r},
        pod={pod!r},
    ),
    exposure=HostPort(PortPool(26700, 26709), address=NodeAddress(internal=True)),
    namespace={namespace!r},
    cluster=Cluster(kubeconfig={kubeconfig!r}),
)
print("begin", flush=True)
try:
    fleet.allocate(session="match-1", timeout=60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(3)
"""


@contextmanager
def another_backend(backend: Backend, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Give a process that has begun to allocate; it is killed at the end."""
    make(Fleet, backend)  # for its rights
    script = textwrap.dedent(SCRIPT).format(
        image=backend.cluster.image,
        env=env,
        pod=NEVER_READY,
        namespace=backend.namespace,
        kubeconfig=str(backend.kubeconfig),
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_leaves_nothing(backend: Backend) -> None:
    with another_backend(backend, NEVER_READY="1") as process:
        eventually(backend.pods)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert (said, process.returncode) == ("interrupted\n", 3)
    eventually(lambda: not backend.pods())


def someone_else_tends(backend: Backend) -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "arena-tender", "namespace": backend.namespace},
        "spec": {
            "holderIdentity": "someone else",
            "leaseDurationSeconds": 120,
            "renewTime": datetime.now(UTC).isoformat(timespec="microseconds"),
        },
    }
    backend.cluster.apply([lease])


def test_a_server_whose_backend_was_killed_is_adopted(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tender, "_LASTS", 120.0)  # seconds
    someone_else_tends(backend)  # who tends would soon remove it
    with another_backend(backend, READY_AFTER="2"):
        orphan = eventually(backend.pods)[0]["metadata"]["name"]
    same = template(backend, env={"READY_AFTER": "2"}, pod=NEVER_READY)
    with (
        make(Fleet, backend, template=same) as fleet,
        make(Fleet, backend, template=template(backend)) as newer,
    ):
        eventually(lambda: fleet.servers(ServerState.READY))
        eventually(lambda: newer.servers(ServerState.READY))
        started = time.monotonic()
        eventually(lambda: time.monotonic() - started > 5.5)  # it might be wanted till then
        assert newer.allocate(timeout=30).name != orphan  # it is of another template
        server = fleet.allocate(timeout=30)
        assert server.name == orphan
        assert over_udp(server.endpoint) == f"{orphan} hello"


def test_ports_are_known_again_after_a_restart(backend: Backend) -> None:
    with make(Fleet, backend) as fleet:
        server = fleet.allocate(session="match-1", timeout=30)
    pool = own_ports(10)
    with make(Fleet, backend, pool) as fleet:
        held = {server.endpoint.port: (f"{backend.namespace}/{server.name}",)}
        assert dict(pool.in_use) == held
        fleet.stop()
        backend.delete("pods", server.name)
        eventually(lambda: not backend.pods())
        fleet.start()
        assert not pool.in_use  # it went while nobody watched


def test_no_socket_is_left_open_when_the_event_loop_ends(backend: Backend) -> None:
    """A watch and a request in flight end their TLS before the loop does."""

    async def play() -> None:
        fleet = make(AsyncFleet, backend, template=stuck(backend))
        await fleet.start()
        task = asyncio.create_task(fleet.allocate(timeout=30))
        await asyncio.wait({task}, timeout=0.1)
        await fleet.stop()
        await asyncio.wait({task})
        assert task.exception() is not None

    for _ in range(5):
        asyncio.run(play())
        gc.collect()  # an open socket would warn now, and a warning is an error


def test_stopping_a_fleet_that_is_being_started_stops_it(backend: Backend) -> None:
    async def start_and_stop() -> set[str]:
        fleet = make(AsyncFleet, backend)
        starting = asyncio.create_task(fleet.start())
        await asyncio.sleep(0)  # it has begun
        await fleet.stop()
        with suppress(TransportError):  # what takes longer than a second is cancelled
            await starting
        return {task.get_name() for task in asyncio.all_tasks()}

    assert not [name for name in asyncio.run(start_and_stop()) if name.startswith("podfleet")]


def test_stopping_the_fleet_leaves_its_callers_own_tasks_alone(backend: Backend) -> None:
    """An ``allocate`` runs in its caller's task, which has other things to do afterwards."""

    async def play() -> None:
        fleet = make(AsyncFleet, backend, template=stuck(backend))
        await fleet.start()
        went_on = asyncio.Event()

        async def caller(session: str) -> None:
            with pytest.raises(AllocationError, match="stopped"):
                await fleet.allocate(session, timeout=30)
            await asyncio.sleep(0.01)
            went_on.set()

        tasks = [asyncio.create_task(caller(session)) for session in ("red", "red", "blue")]
        await eventually_async(lambda: len(backend.pods()) == 2)
        await fleet.stop()
        await asyncio.gather(*tasks)
        assert went_on.is_set()
        assert not any(task.cancelling() for task in tasks)

    asyncio.run(play())
    eventually(lambda: not backend.pods())
