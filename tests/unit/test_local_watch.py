"""A watch of the embedded cluster tells every change, whatever comes while it is read."""

import asyncio
import json
import math
import time
from typing import Any

import pytest

from podfleet.local.api import watching
from podfleet.local.api.watching import Watch
from podfleet.local.objects.kinds import CONFIG_MAP
from podfleet.local.objects.store import Record, Store

_BOOKMARKS = 0.05  # seconds


def _put(store: Store, name: str) -> None:
    store.put(CONFIG_MAP, ("games", name), {"metadata": {"name": name, "namespace": "games"}})


def _watch(store: Store, since: int) -> Watch:
    def encode(record: Record) -> bytes:
        return record.encoded

    return Watch(
        store,
        CONFIG_MAP,
        "games",
        match=lambda _: True,
        since=since,
        bookmarks=True,
        initial=False,
        seconds=math.inf,
        encode=encode,
    )


async def _told(events: Any) -> tuple[str, str | None]:
    line = json.loads(await anext(events))
    return line["type"], line["object"]["metadata"].get("name")


@pytest.mark.parametrize("since", [0, 1000])
def test_what_changes_while_the_past_is_told(since: int) -> None:
    async def follow() -> list[str | None]:
        store = Store()
        _put(store, "one")
        _put(store, "two")
        events = _watch(store, since).events()
        told = [await _told(events)]
        _put(store, "three")  # its client reads slowly
        told += [await _told(events), await _told(events)]
        await events.aclose()  # type: ignore[attr-defined]
        return [name for _, name in told]

    assert asyncio.run(follow()) == ["one", "two", "three"]


def test_a_bookmark_is_of_no_change_that_is_yet_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_BOOKMARKS", _BOOKMARKS)

    async def follow() -> tuple[str, str | None]:
        store, loop = Store(), asyncio.get_running_loop()
        events = _watch(store, store.version).events()
        first = asyncio.ensure_future(_told(events))
        await asyncio.sleep(0)
        # The change, and right after it the moment for a bookmark, in one round of the loop.
        loop.call_later(_BOOKMARKS * 0.9, _put, store, "one")
        loop.call_soon(time.sleep, _BOOKMARKS * 2)
        told = await first
        await events.aclose()  # type: ignore[attr-defined]
        return told

    assert asyncio.run(follow()) == ("ADDED", "one")
