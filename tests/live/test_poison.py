"""One object that cannot be read never stops a fleet: it is skipped, and is not handed out."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from podfleet import AsyncFleet, EventKind, Fleet, GameServer, NodeAddress, NotFound, ServerState
from podfleet.exposure import HeadlessDNS
from podfleet.kube.paths import object_path, pods, pointer
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, template

pytestmark = pytest.mark.only("embedded", "the API server has no part in it")

ADDRESS = NodeAddress(fixed="192.0.2.1")

POISONS = {
    "sessions, no JSON": {"podfleet.dev/slots": "4", "podfleet.dev/sessions": "{"},
    "sessions, a list": {"podfleet.dev/slots": "4", "podfleet.dev/sessions": "[]"},
    "sessions, words": {"podfleet.dev/slots": "4", "podfleet.dev/sessions": '{"a": "x"}'},
    "sessions, negative": {"podfleet.dev/slots": "4", "podfleet.dev/sessions": '{"a": -9}'},
    "sessions, deep": {"podfleet.dev/slots": "4", "podfleet.dev/sessions": "[" * 100_000},
    "slots": {"podfleet.dev/slots": "x"},
    "many slots": {"podfleet.dev/slots": "9" * 5000},
    "given": {"podfleet.dev/given": "{}"},
    "a turn": {"podfleet.dev/turn": "9" * 5000},
    "allocated at": {"podfleet.dev/allocated-at": "soon"},
    "reserved until": {"podfleet.dev/reserved-until": "yesterday"},
}


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "podfleet")
    return caplog


def fleet_of(backend: Backend, **changes: Any) -> Fleet:
    return make(Fleet, backend, exposure=HeadlessDNS(), **changes)  # nobody dials them


def annotate(backend: Backend, name: str, notes: Mapping[str, str | None]) -> None:
    path = pods(backend.namespace, name)
    shown = backend.cluster.get("v1", "pods", backend.namespace, name)
    there = shown["metadata"].get("annotations") or {}
    for key, value in notes.items():
        place = pointer("metadata", "annotations", key)
        if value is not None:
            backend.cluster.patch(path, {"op": "add", "path": place, "value": value})
        elif key in there:
            backend.cluster.patch(path, {"op": "remove", "path": place})


async def until_stopping(fleet: AsyncFleet) -> None:
    async with asyncio.timeout(20):
        while not await fleet.servers(ServerState.STOPPING):
            await asyncio.sleep(0.01)


def ready(fleet: Fleet) -> Sequence[GameServer]:
    return fleet.servers(ServerState.READY)


@pytest.mark.parametrize("notes", POISONS.values(), ids=POISONS)
def test_a_server_that_cannot_be_read_is_left_out_until_it_is_repaired(
    backend: Backend, notes: dict[str, str], warnings: pytest.LogCaptureFixture
) -> None:
    with fleet_of(backend, ready=2) as fleet:
        eventually(lambda: len(ready(fleet)) == 2)
        bad, good = ready(fleet)
    annotate(backend, bad.name, notes)
    with fleet_of(backend) as fleet:  # its list holds the bad one
        assert [server.name for server in ready(fleet)] == [good.name]
        assert fleet.status().servers[ServerState.READY] == 1
        with pytest.raises(NotFound):
            fleet.get(bad.name)
        assert fleet.allocate("match-1", timeout=10).name == good.name
        second = fleet.allocate("match-2", timeout=20)
        assert second.name not in (bad.name, good.name)
        fleet.reconcile()
        second.release()
        told = [one for one in warnings.records if bad.name in one.getMessage()]
        assert len(told) == 1
        assert "cannot be read" in told[0].getMessage()
        assert next(iter(notes)) in told[0].getMessage() or "sessions" in told[0].getMessage()

        # Repaired, and spoilt again: by the watch.
        annotate(backend, bad.name, dict.fromkeys(notes))
        eventually(lambda: [one.name for one in ready(fleet)] == [bad.name])
        annotate(backend, bad.name, notes)
        eventually(lambda: not ready(fleet))
        third = fleet.allocate("match-3", timeout=20)
        assert third.name != bad.name
        annotate(backend, bad.name, dict.fromkeys(notes))
        eventually(lambda: [one.name for one in ready(fleet)] == [bad.name])
        assert fleet.allocate("match-4", timeout=10).name == bad.name
        assert len([one for one in warnings.records if bad.name in one.getMessage()]) == 2


def test_a_match_on_a_server_that_is_spoilt_is_released(backend: Backend) -> None:
    shared = template(backend, slots=4)
    with fleet_of(backend, template=shared) as fleet:
        server = fleet.allocate("match-1", timeout=20)
        annotate(backend, server.name, {"podfleet.dev/sessions": "{"})
        eventually(lambda: fleet.find("match-1") is None)
        assert fleet.allocate("match-2", timeout=20).name != server.name


def test_a_lone_match_on_a_server_that_is_spoilt_is_released(backend: Backend) -> None:
    with fleet_of(backend) as fleet:
        server = fleet.allocate("match-1", timeout=20)
        annotate(backend, server.name, {"podfleet.dev/allocated-at": "soon"})
        eventually(lambda: fleet.find("match-1") is None)
        server.release()
        eventually(lambda: server.name not in [one["metadata"]["name"] for one in backend.pods()])


def test_other_servers_events_go_on(backend: Backend) -> None:
    async def play() -> None:
        fleet = make(AsyncFleet, backend, exposure=HeadlessDNS())
        async with fleet:
            first = await fleet.allocate("match-1", timeout=20)
            events = fleet.events()
            await anext(events)  # match-1
            await asyncio.to_thread(
                annotate, backend, first.name, {"podfleet.dev/allocated-at": "soon"}
            )
            await until_stopping(fleet)
            second = await fleet.allocate("match-2", timeout=20)
            await second.release()
            kinds: list[tuple[EventKind, str | None]] = []
            while not kinds or kinds[-1][0] is not EventKind.RELEASED:
                event = await asyncio.wait_for(anext(events), 20)
                kinds.append((event.kind, event.session))
            # Nothing is told of the first, of which nothing is known.
            assert kinds[-2:] == [
                (EventKind.ALLOCATED, "match-2"),
                (EventKind.RELEASED, "match-2"),
            ]
            assert all(kind is EventKind.READY for kind, _ in kinds[:-2])

    asyncio.run(play())


def test_an_odd_lease_stops_nobody(backend: Backend, warnings: pytest.LogCaptureFixture) -> None:
    with fleet_of(backend) as fleet:
        odd = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": "arena-odd",
                "namespace": backend.namespace,
                "labels": {"podfleet.dev/fleet": "arena", "podfleet.dev/session": "match-9"},
            },
            "spec": {},
        }
        backend.cluster.apply([odd])
        assert fleet.reconcile() == ()
        fleet.allocate("match-1", timeout=20)
    path = object_path("coordination.k8s.io/v1", "leases", backend.namespace, "arena-odd")
    assert backend.cluster.delete(path)
