"""Who subscribes to events is told them, and who leaves is told no more."""

import asyncio

import pytest

from podfleet import Diagnosis, FleetEvent, TransportError
from podfleet.fleet.events.stream import Events, EventStream
from podfleet.fleet.events.witness import Witness
from podfleet.kube import Store
from podfleet.model import Manifest
from podfleet.model.container import Run
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
    ended,
    kinds,
    server,
    silent_node,
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


class Reader:
    """Reads what is said of a Pod, when the test lets it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may: dict[str, asyncio.Event] = {}

    async def __call__(self, pod: Manifest, known: Diagnosis, run: Run | None) -> Diagnosis:
        name = pod["metadata"]["name"]
        self.asked.append(name)
        may = self.may.setdefault(name, asyncio.Event())
        await may.wait()
        if name == "unreadable":
            raise TransportError("no route")
        return known.with_evidence(events=(), log=(f"last words of {name}",))


def test_an_end_waits_for_its_log_and_other_servers_do_not() -> None:
    watched, reader = Watched(), Reader()

    async def play() -> None:
        events = Events(watched.store, Witness(reader))

        async def begin() -> Events:
            return events

        streams = [EventStream(begin) for _ in range(2)]
        readers = [asyncio.create_task(read(one)) for one in streams]
        await asyncio.sleep(0)  # they have begun
        names = ("slow", "quick", "unreadable", "never")
        for name in names:
            watched.show(allocated(None, name, name=name, uid=name))
        for name in names:
            watched.show(allocated(ended(3), name, name=name, uid=name))
            watched.show(server(sessions={}, name=name, uid=f"{name}2"))
        await asyncio.sleep(0)
        for name in ("quick", "unreadable", "slow"):
            reader.may[name].set()
            for _ in range(5):
                await asyncio.sleep(0)
        events.stop()
        for told in await asyncio.gather(*readers):
            lost = [event for event in told if event.kind is LOST]
            assert [event.session for event in lost] == ["quick", "unreadable", "slow", "never"]
            said = [event.diagnosis.log for event in lost if event.diagnosis]
            assert said == [("last words of quick",), (), ("last words of slow",), ()]
            assert all(event.diagnosis and event.diagnosis.exit_code == 3 for event in lost)
            for name in names:  # in order for each server
                own = [one.kind for one in told if one.server and one.server.name == name]
                assert own == [ALLOCATED, LOST, READY]
        assert sorted(reader.asked) == sorted(names)  # once for all who listen

    asyncio.run(play())


def test_nothing_is_read_while_nobody_listens_nor_of_a_silent_node() -> None:
    watched, reader = Watched(), Reader()

    async def play() -> None:
        events = Events(watched.store, Witness(reader))

        async def begin() -> Events:
            return events

        watched.show(allocated(None, "blue", name="early", uid="e"))
        watched.show(allocated(ended(3), "blue", name="early", uid="e"))
        watched.remove(allocated(None, "blue", name="early", uid="e"))
        telling = asyncio.create_task(read(EventStream(begin)))
        await asyncio.sleep(0)  # it has begun
        watched.show(allocated(silent_node()))
        watched.show(allocated(silent_node(), going=True))
        events.stop()
        assert [one.kind for one in await telling][-1] is LOST
        assert reader.asked == []

    asyncio.run(play())


async def read(stream: EventStream) -> list[FleetEvent]:
    return [event async for event in stream]
