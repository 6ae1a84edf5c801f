"""One demo, and one browser, for all tests of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from podfleet.testing.cluster import eventually
from tests.arcade.demo import Demo
from tests.arcade.player import DESKTOP, Open, Player


@pytest.fixture(scope="package")
def demo() -> Iterator[Demo]:
    with Demo() as demo:
        yield demo
    assert demo.processes() == []


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        _cannot("there is no chromium in PATH; `python .ci/browser.py`, as root, installs Debian's")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


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


def _cannot(reason: str) -> None:
    """Skip, with the reason; in CI a skipped check is a failed one."""
    words = f"the arcade cannot be played here: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(words, pytrace=False)
    pytest.skip(words)
