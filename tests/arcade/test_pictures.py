"""The pages at a desktop's and a phone's size, dark and light: nothing is cut or unreadable.

The pictures are kept in build/screenshots, to be looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from podfleet.testing.cluster import eventually
from tests.arcade.demo import Demo
from tests.arcade.player import DESKTOP, PHONE, SLOW, Open

pytestmark = pytest.mark.xdist_group("arcade")  # one demo for all

PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
MATCHES = {"red-fox-42": ("Ziggy", "Luna"), "blue-owl-17": ("Echo", "Comet")}
HUES = {"Ziggy": 24, "Luna": 172, "Echo": 312, "Comet": 48}

FAULTS = Path(__file__).with_name("faults.js").read_text()


def look(page: Page, name: str) -> None:
    """Keep a picture of a page, and complain of what is wrong with it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page="match" not in name)
    assert page.evaluate(FAULTS) == [], f"see {PICTURES / name}.png"


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_nothing_is_cut_and_all_can_be_read(
    enter: Open, demo: Demo, scheme: Literal["dark", "light"]
) -> None:
    terminals = [
        demo.terminal(session, name, 300, HUES[name])
        for session, names in MATCHES.items()
        for name in names
    ]
    try:
        eventually(lambda: demo.count("allocated") == 2 and demo.count("ready") == 5, 60)
        for size, shape, scale in ((DESKTOP, "desktop", 1), (PHONE, "phone", 2)):
            player = enter(size, color_scheme=scheme, device_scale_factor=scale)
            page = player.page
            player.lobby("Nova")
            page.get_by_label("Hue 262").check()
            expect(page.locator("#matches article")).to_have_count(2, timeout=SLOW)
            page.wait_for_timeout(1500)  # for the orbs to draw their trails
            look(page, f"lobby-{shape}-{scheme}")

            page.get_by_role("link", name="Join red-fox-42").click()
            player.until_in_match("Nova")
            player.expect_players("Ziggy", "Luna")
            for turn in range(20):
                x, y = size[0] * (0.3 + 0.02 * turn), size[1] * (0.6 - 0.01 * turn)
                page.mouse.move(x, y)
                page.wait_for_timeout(50)
            look(page, f"match-{shape}-{scheme}")

            page.goto(f"{demo.url}/fleet")
            expect(page.locator(".players li")).to_have_count(5, timeout=SLOW)
            page.wait_for_timeout(1500)
            look(page, f"fleet-{shape}-{scheme}")
    finally:
        for terminal in terminals:
            terminal.kill()
            terminal.communicate()
