"""Who subscribes to events is told them, and who leaves is told no more."""

import asyncio

import pytest

from podfleet import FleetEvent
from podfleet.fleet.events.stream import Events, EventStream
from podfleet.kube import Store
from podfleet.model.event import EventKind
from podfleet.model.names import ALLOCATED_AT
from podfleet.model.slots import sessions_of
from tests.unit.test_events import (
    ALLOCATED,
    LOST,
    READY,
    RELEASED,
    Watched,
    allocated,
    kinds,
    server,
)


def test_nobody_is_told_while_nobody_listens() -> None:
    watched = Watched()
    events = Events(watched.store)

    async def begin() -> Events:
        return events

    async def play() -> None:
        watched.show(server())
        async for event in EventStream(begin):
            assert event.kind is READY
            break
        assert not events._streams  # who leaves the loop is told no more
        one, other = EventStream(begin), EventStream(begin)
        assert kinds([await anext(one), await anext(other)]) == [(READY, None)] * 2
        watched.show(allocated())
        assert (await anext(one)).kind is ALLOCATED
        with pytest.raises(TimeoutError):  # it is not over for that
            await asyncio.wait_for(anext(one), 0.01)
        del one
        watched.show(allocated(going=True))
        events.stop()
        assert kinds([event async for event in other]) == [(ALLOCATED, "red"), (RELEASED, "red")]
        assert [event async for event in other] == []

    asyncio.run(play())


@pytest.mark.parametrize("kind", [RELEASED, LOST])
def test_of_a_server_that_was_not_found_the_watch_tells_how_it_went(kind: EventKind) -> None:
    watched = Watched()
    events = Events(watched.store)

    async def begin() -> Events:
        return events

    async def play() -> None:
        reader = asyncio.create_task(read(EventStream(begin)))
        await asyncio.sleep(0)  # it has begun
        watched.show(allocated())
        watched.store.miss("arena-0", "u")  # by a read, which was here before the event
        if kind is RELEASED:
            watched.show(allocated(going=True))
        watched.remove(allocated())
        events.stop()
        assert kinds(await reader) == [(ALLOCATED, "red"), (kind, "red")]

    asyncio.run(play())


def test_a_pod_that_makes_no_sense_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(index_by=sessions_of)
    events = Events(store)

    async def begin() -> Events:
        return events

    async def play() -> None:
        reader = asyncio.create_task(read(EventStream(begin)))
        await asyncio.sleep(0)  # it has begun
        for version, since in (("1", "yesterday"), ("2", "2026-11-23T04:00:00Z")):
            pod = allocated(notes={ALLOCATED_AT: since})
            pod["metadata"]["resourceVersion"] = version
            store.observe(pod)
        events.stop()
        assert kinds(await reader) == [(ALLOCATED, "red")]

    asyncio.run(play())
    assert "arena-0: no event of what makes no sense" in caplog.text


async def read(stream: EventStream) -> list[FleetEvent]:
    return [event async for event in stream]
