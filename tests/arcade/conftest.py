"""One demo, and one browser, for all tests of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from podfleet.testing.cluster import eventually
from tests.arcade.demo import Demo
from tests.arcade.player import Open, Player
from tests.browser.chromium import DESKTOP, chromium


@pytest.fixture(scope="package")
def demo() -> Iterator[Demo]:
    with Demo() as demo:
        yield demo
    assert demo.processes() == []


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def enter(browser: Browser, demo: Demo) -> Iterator[Open]:
    players: list[Player] = []

    def enter(size: tuple[int, int] = DESKTOP, **options: Any) -> Player:
        players.append(Player(browser, demo, size, **options))
        return players[-1]

    yield enter
    for player in players:
        player.context.close()
    assert [error for player in players for error in player.errors] == []
    # What a test played is over for the next one.
    for server in demo.fleet()["servers"]:
        if server["session"] and server["state"] == "allocated":
            with pytest.raises(json.JSONDecodeError):
                demo.get(f"/api/matches/{server['session']}", "DELETE")
    eventually(lambda: demo.count("allocated") == 0 and demo.count("ready") == 5, 60)
