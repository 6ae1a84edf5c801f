"""Who waits for a server of a session that had one: what was started for them is not given up."""

import asyncio
from typing import Any

from podfleet.fleet.pool.free import FreeServers, Wish
from podfleet.fleet.pool.line import Line
from podfleet.fleet.sighting import Sighting
from podfleet.kube import Store
from podfleet.model import Manifest
from podfleet.model.names import REVISION, SESSION, STATE, TURN


def allocated(name: str, session: str, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "games",
            "uid": name,
            "resourceVersion": "1",
            "labels": {STATE: "allocated", REVISION: "r"},
            "annotations": {TURN: "1", SESSION: session},
            **metadata,
        },
        "spec": {"nodeName": "node-a", "containers": [{"name": "server"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


async def settled() -> None:
    """Let all go on that waits for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)


class Waiting:
    """One caller that waits for session red, and starts a server of its own."""

    def __init__(self, *answers: Manifest | None) -> None:
        self._store = Store()
        self._free = FreeServers(self._store, "r", "packed")
        self.line = Line(self._free)
        self.own: asyncio.Future[Manifest] = asyncio.Future()
        self.asked: list[Manifest] = []
        self._answers = list(answers)
        self.task = asyncio.create_task(
            self.line.wait(Wish(), "red", lambda: self.own, self._confirm)
        )

    async def _confirm(self, pod: Manifest) -> Manifest | None:
        self.asked.append(pod)
        await asyncio.sleep(0)
        return self._answers.pop(0)

    async def show(self, pod: Manifest) -> None:
        await settled()
        self._store.observe(pod)
        seen = Sighting(pod["metadata"]["name"], pod)
        self._free.follow(seen)
        self.line.follow(seen)
        await settled()


def test_what_was_started_is_kept_when_the_watch_shows_what_has_been() -> None:
    async def play() -> None:
        waiting = Waiting(None)
        going = allocated("old", "red", deletionTimestamp="2026-11-27T00:00:00Z")
        await waiting.show(going)
        assert waiting.asked == []  # its match is over, as is seen
        await waiting.show(allocated("old", "blue"))
        assert waiting.asked == []
        old = allocated("old", "red")
        await waiting.show(old)
        assert waiting.asked == [old]  # released since, as the watch has yet to show
        assert not waiting.own.cancelled()
        assert len(waiting.line) == 1
        mine = allocated("mine", "red")
        waiting.own.set_result(mine)
        assert await waiting.task == mine
        assert len(waiting.line) == 0

    asyncio.run(play())


def test_the_sessions_server_is_returned_as_it_is_now() -> None:
    async def play() -> None:
        now = allocated("old", "red", resourceVersion="2")
        waiting = Waiting(now)
        await waiting.show(allocated("old", "red"))
        assert await waiting.task == now
        assert waiting.own.cancelled()

    asyncio.run(play())


def test_who_waited_longest_is_still_the_first_afterwards() -> None:
    async def play() -> None:
        waiting = Waiting(None)
        await settled()
        line = waiting.line

        async def none(_: Manifest) -> Manifest | None:
            return None

        second = asyncio.create_task(line.wait(Wish(), "blue", None, none))
        await waiting.show(allocated("old", "red"))
        free = allocated("free", "")
        free["metadata"]["labels"][STATE] = "unclaimed"
        free["metadata"]["annotations"] = {TURN: "2"}
        await waiting.show(free)
        assert (await waiting.task)["metadata"]["name"] == "free"
        assert not second.done()
        second.cancel()
        await asyncio.wait({second})

    asyncio.run(play())
