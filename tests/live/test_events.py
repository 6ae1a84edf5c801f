"""What subscribers are told, while servers come, serve and go."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from podfleet import AsyncFleet, EventKind, Fleet, FleetEvent, ServerState, Verdict
from podfleet.kube.paths import object_path
from tests.cluster.fixtures import Backend
from tests.live.arena import GRACE, eventually, make, template

READY, ALLOCATED = EventKind.READY, EventKind.ALLOCATED
RELEASED, LOST, FAILED = EventKind.RELEASED, EventKind.LOST, EventKind.FAILED


class Told:
    """What a callback was told."""

    def __init__(self) -> None:
        self.events: list[FleetEvent] = []

    def __call__(self, event: FleetEvent) -> None:
        self.events.append(event)

    def until(self, kind: EventKind, session: str | None = None) -> FleetEvent:
        """Return the first event of that kind for that session."""

        def found() -> FleetEvent | None:
            of_it = [one for one in self.events if (one.kind, one.session) == (kind, session)]
            return of_it[0] if of_it else None

        event = eventually(found, 60)
        assert event is not None
        return event

    def of(self, session: str | None) -> list[EventKind]:
        return [event.kind for event in self.events if event.session == session]


@contextmanager
def telling(fleet: Fleet) -> Iterator[Told]:
    told = Told()
    end = fleet.on_event(told)
    yield told
    end()


def test_a_match_from_its_server_to_its_release(backend: Backend) -> None:
    with make(Fleet, backend, ready=1) as fleet, telling(fleet) as told:
        event = told.until(READY)
        server = fleet.allocate("red", timeout=60)
        assert event.server is not None
        assert event.server.uid == server.uid
        allocated = told.until(ALLOCATED, "red")
        assert allocated.server is not None
        assert allocated.server.state is ServerState.ALLOCATED
        server.release()
        assert told.until(RELEASED, "red").reason == "its Pod is being deleted"
        eventually(lambda: server.uid not in {pod["metadata"]["uid"] for pod in backend.pods()})
        assert told.of("red") == [ALLOCATED, RELEASED]


def test_a_recycled_server_is_ready_again(backend: Backend) -> None:
    pod = {"spec": {"restartPolicy": "Always", "terminationGracePeriodSeconds": GRACE}}
    shape = template(backend, pod=pod, env={"EXIT_AFTER": "4"})
    with make(Fleet, backend, template=shape) as fleet, telling(fleet) as told:
        server = fleet.allocate("red", timeout=60)
        fleet.release(server, recycle=True)
        assert "kept for another" in told.until(RELEASED, "red").reason
        told.events.clear()
        event = told.until(READY)
        assert event.server is not None
        assert event.server.uid == server.uid
        fleet.allocate("blue", timeout=60)
        told.until(ALLOCATED, "blue")


def test_sessions_that_share_a_server(backend: Backend) -> None:
    shape = template(backend, slots=3)
    with make(Fleet, backend, template=shape) as fleet, telling(fleet) as told:
        red = fleet.allocate("red", timeout=60)
        assert fleet.allocate("blue", timeout=60).uid == red.uid
        told.until(ALLOCATED, "blue")
        fleet.leave("red")
        assert told.until(RELEASED, "red").reason == "its session left"
        fleet.release(red.name)
        told.until(RELEASED, "blue")
        assert told.of("red") == told.of("blue") == [ALLOCATED, RELEASED]


@pytest.mark.parametrize(("code", "kind"), [("3", LOST), ("0", RELEASED)])
def test_a_server_that_ends_by_itself(backend: Backend, code: str, kind: EventKind) -> None:
    shape = template(backend, env={"EXIT_AFTER": "3", "EXIT_CODE": code})
    with make(Fleet, backend, template=shape) as fleet, telling(fleet) as told:
        fleet.allocate("red", timeout=60)
        event = told.until(kind, "red")
        assert f"code {code}" in event.reason or event.reason.endswith("(exit 0)")
        assert (event.diagnosis is not None) == (kind is LOST)


def test_a_server_that_will_never_be_ready(backend: Backend) -> None:
    shape = template(backend, env={"CRASH": "1"})
    with (
        make(Fleet, backend, template=shape, ready=1) as fleet,
        telling(fleet) as told,
    ):
        event = told.until(FAILED)
        assert event.diagnosis is not None
        assert event.diagnosis.verdict is Verdict.FAILED


@pytest.mark.parametrize("grace", [None, 0])
def test_a_pod_that_is_removed_behind_the_fleets_back(backend: Backend, grace: int | None) -> None:
    with make(Fleet, backend) as fleet, telling(fleet) as told:
        server = fleet.allocate("red", timeout=60)
        backend.delete("pods", server.name, grace=grace)
        assert told.until(RELEASED, "red").reason == "its Pod is being deleted"


def test_an_evicted_server_is_lost(backend: Backend) -> None:
    with make(Fleet, backend) as fleet, telling(fleet) as told:
        server = fleet.allocate("red", timeout=60)
        evict(backend, server.name, told)
        event = told.until(LOST, "red")
        assert event.reason == "EvictionByEvictionAPI: Eviction API: evicting"
        assert event.diagnosis is not None
        assert event.diagnosis.reason == "EvictionByEvictionAPI"
        assert event.diagnosis.log  # it is read while the Pod is there
        eventually(lambda: fleet.find("red") is None)
        assert told.of("red") == [ALLOCATED, LOST]


def evict(backend: Backend, name: str, told: Told) -> None:
    """Have the cluster take a server, in spite of its budget."""
    if backend.cluster.local is None:
        (budget,) = backend.objects("policy/v1", "poddisruptionbudgets")
        path = object_path("policy/v1", "poddisruptionbudgets", backend.namespace)
        backend.cluster.delete(f"{path}/{budget['metadata']['name']}")
        place = {"name": name, "namespace": backend.namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": place}
        path = f"{object_path('v1', 'pods', backend.namespace, name)}/eviction"
        backend.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
        return
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": "2026-11-23T04:00:00Z",
    }
    backend.cluster.patch(
        f"{object_path('v1', 'pods', backend.namespace, name)}/status",
        {"op": "add", "path": "/status/conditions/-", "value": condition},
    )
    told.until(LOST, "red")  # a process that runs here ends in no time
    backend.delete("pods", name)


def test_a_backend_that_starts_later_is_told_how_things_are(backend: Backend) -> None:
    shape = template(backend, env={"EXIT_CODE": "3"})
    crashing = template(backend, env={"EXIT_AFTER": "2", "EXIT_CODE": "3"})
    with (
        make(Fleet, backend, template=crashing) as other,
        make(Fleet, backend, template=shape, ready=1) as fleet,
    ):
        eventually(lambda: fleet.status().servers[ServerState.READY] == 1, 60)
        fleet.allocate("red", timeout=60)
        lost = other.allocate("blue", timeout=60)
        eventually(lambda: fleet.get(lost.name).state is ServerState.ENDED, 60)
        eventually(lambda: fleet.status().servers[ServerState.READY] == 1, 60)
    with make(Fleet, backend, template=shape) as fleet, telling(fleet) as told:
        told.until(READY)
        told.until(ALLOCATED, "red")
        told.until(LOST, "blue")
        assert len(told.events) == 3


def test_a_callback_that_raises_stops_nobody(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: FleetEvent) -> None:
        raise ValueError("mine")

    async def play() -> None:
        async with make(AsyncFleet, backend) as fleet:
            told, later = Told(), Told()
            end = await fleet.on_event(fail)
            end_of_told = await fleet.on_event(told)
            server = await fleet.allocate("red", timeout=60)
            await asyncio.to_thread(told.until, ALLOCATED, "red")
            end_of_told()
            await fleet.on_event(later)
            await server.release()
            await asyncio.to_thread(later.until, RELEASED, "red")
            assert RELEASED not in told.of("red")
            end()

    with caplog.at_level(logging.ERROR, logger="podfleet"):
        asyncio.run(play())
    failures = [one for one in caplog.records if "a callback failed at the event" in one.message]
    assert len(failures) >= 2  # it was called again


def test_stop_ends_the_loop_and_many_may_read(backend: Backend) -> None:
    async def play() -> None:
        fleet = make(AsyncFleet, backend)

        async def read(until: EventKind | None = None) -> list[EventKind]:
            found = []
            async for event in fleet.events():
                if event.session == "red":
                    found.append(event.kind)
                    if event.kind is until:
                        break
            return found

        readers = [asyncio.create_task(read()) for _ in range(3)]
        leaver = asyncio.create_task(read(ALLOCATED))
        server = await fleet.allocate("red", timeout=60)
        assert await asyncio.wait_for(leaver, 30) == [ALLOCATED]
        last = asyncio.create_task(read(RELEASED))
        await server.release()
        assert await asyncio.wait_for(last, 30) == [ALLOCATED, RELEASED]
        await fleet.stop()
        for found in await asyncio.wait_for(asyncio.gather(*readers), 10):
            assert found == [ALLOCATED, RELEASED]

    asyncio.run(play())


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_the_sync_face_is_iterated_and_ends_with_stop(backend: Backend) -> None:
    found: list[EventKind] = []
    with make(Fleet, backend) as fleet:
        server = fleet.allocate("red", timeout=60)
        reader = in_thread(lambda: found.extend(event.kind for event in fleet.events()))
        for event in fleet.events():
            if event.kind is ALLOCATED:
                assert event.session == "red"
                server.release()
            if event.kind is RELEASED:
                break
    reader.join(10)
    assert not reader.is_alive()
    assert found == [ALLOCATED, RELEASED]


SCRIPT = """
import signal
from podfleet import *
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs begin with it ignored
fleet = Fleet(
    "arena",
    template=GameServerTemplate(image={image!r}, ports=[Port("game", 7777, "TCPUDP")]),
    exposure=HostPort(PortPool(26710, 26719), address=NodeAddress(internal=True)),
    namespace={namespace!r},
    cluster=Cluster(kubeconfig={kubeconfig!r}),
)
try:
    for event in fleet.events():
        print(event.kind.value, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    fleet.stop()
"""


def test_ctrl_c_interrupts_the_loop(backend: Backend) -> None:
    with make(Fleet, backend) as fleet:
        fleet.allocate("red", timeout=60)
    script = SCRIPT.format(
        image=backend.cluster.image,
        namespace=backend.namespace,
        kubeconfig=str(backend.kubeconfig),
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "allocated\n"
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert (said, process.returncode) == ("interrupted\n", 0)
