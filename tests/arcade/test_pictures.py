"""The pages at a desktop's and a phone's size, dark and light: nothing is cut or unreadable.

The pictures are kept in build/screenshots, to be looked at.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from podfleet.testing.cluster import eventually
from tests.arcade.demo import Demo
from tests.arcade.player import SLOW, Open
from tests.browser.chromium import DESKTOP, PHONE, SCHEMES, Scheme, faults, keep

pytestmark = pytest.mark.xdist_group("arcade")  # one demo for all

MATCHES = {"red-fox-42": ("Ziggy", "Luna"), "blue-owl-17": ("Echo", "Comet")}
TALL = 6000
HUES = {"Ziggy": 24, "Luna": 172, "Echo": 312, "Comet": 48}


def look(page: Page, name: str) -> None:
    """Keep a picture of a page, and complain of what is wrong with it."""
    picture = keep(page, name, None if "match" in name else TALL)
    assert faults(page, apart=".unseen, .hint") == [], f"see {picture}"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_is_cut_and_all_can_be_read(enter: Open, demo: Demo, scheme: Scheme) -> None:
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
