"""Somebody who plays the demo in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, Page, WebSocket, expect

from tests.arcade.demo import Demo

__all__ = ["SLOW", "Open", "Player"]

SLOW = 30_000  # ms that a page may take on a busy machine


class Player:
    """Somebody with a browser of their own.

    Args:
        browser: Who runs it.
        demo: What is played.
        size: Of the window.
        options: Of playwright's context.
    """

    def __init__(self, browser: Browser, demo: Demo, size: tuple[int, int], **options: Any) -> None:
        viewport: Any = {"width": size[0], "height": size[1]}
        self.context = browser.new_context(viewport=viewport, **options)
        self.context.set_default_timeout(SLOW)
        self.page: Page = self.context.new_page()
        self.url = demo.url
        self.told: dict[str, Any] = {}
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        def hear(frame: str | bytes) -> None:
            self.told |= json.loads(frame)

        socket.on("framereceived", hear)

    def lobby(self, name: str) -> None:
        """Open the lobby and give a name."""
        self.page.goto(self.url)
        self.page.get_by_label("Your name").fill(name)

    def create(self, name: str) -> str:
        """Create a match and return its code."""
        self.lobby(name)
        self.page.get_by_role("button", name="Create a match").click()
        self.until_in_match(name)
        return self.page.locator("#code").inner_text()

    def join(self, name: str, session: str) -> None:
        """Join a match by its code."""
        self.lobby(name)
        self.page.get_by_label("Its code").fill(session)
        self.page.get_by_role("button", name="Join", exact=True).click()
        self.until_in_match(name)

    def until_in_match(self, name: str) -> None:
        expect(self.page.locator("#scores .me")).to_contain_text(name, timeout=SLOW)

    def expect_players(self, *names: str) -> None:
        """Wait until these are in the match, in any order."""
        for name in names:
            expect(self.page.locator("#scores li", has_text=name)).to_be_visible(timeout=SLOW)

    @property
    def server(self) -> str:
        """The server's name, as the match's page shows it."""
        found = re.search(r"arcade-\w+", self.page.locator("#server").text_content() or "")
        assert found
        return found[0]

    def orb(self, name: str) -> dict[str, Any]:
        """Return what the server last told this browser of somebody."""
        keys = ("number", "name", "hue", "x", "y", "radius", "score", "away")
        for row in self.told.get("orbs", ()):
            if row[1] == name:
                return dict(zip(keys, row, strict=True))
        raise AssertionError(f"{name} is not in the match")

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait, and let the page go on meanwhile."""
        for _ in range(SLOW // 50):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError("it did not come")


Open = Callable[..., Player]
