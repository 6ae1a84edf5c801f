"""Make the README's picture, docs/pictures/arcade.png: ``python -m tests.arcade.picture``.

Two browsers in one match, side by side, above the page that shows the fleet. It needs Debian's
chromium and pngquant.
"""

from __future__ import annotations

import base64
import math
import shutil
import subprocess
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from podfleet.testing.cluster import eventually
from tests.arcade.demo import Demo
from tests.arcade.player import SLOW, Player

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "arcade.png"
WINDOW, FLEET = (600, 400), (1212, 660)

FRAME = """
<style>
  body {{ margin: 0; padding: 24px; width: 1212px; background: #26243d }}
  body {{ display: flex; flex-wrap: wrap; gap: 12px }}
  img {{ display: block; border-radius: 10px; box-shadow: 0 4px 18px #0008 }}
  img:last-child {{ mask-image: linear-gradient(#000 88%, transparent) }}
</style>
<img src="{0}"><img src="{1}"><img src="{2}">
"""

# The picture has room for one node.
MATCHES_FIRST = """
  #nodes { display: flex; flex-direction: column }
  #nodes > :has([data-state=allocated]) { order: -1 }
"""


def steer(pages: list[Page], seconds: float) -> None:
    """Have each player go round."""
    for turn in range(int(seconds * 20)):
        for number, page in enumerate(pages):
            angle = turn / 7 + number * math.pi
            x, y = 0.5 + 0.3 * math.cos(angle), 0.55 + 0.3 * math.sin(angle)
            page.mouse.move(WINDOW[0] * x, WINDOW[1] * y)
        pages[0].wait_for_timeout(50)


def data(picture: bytes) -> str:
    """Return a picture as an URL."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def main() -> None:
    """Make it."""
    with Demo() as demo, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        ann, bob, watcher = (
            Player(browser, demo, size, color_scheme="dark") for size in (WINDOW, WINDOW, FLEET)
        )
        ann.lobby("Ann")
        ann.page.get_by_label("Hue 200").check()
        demo.get("/api/matches/red-fox-42", "POST")
        ann.join("Ann", "red-fox-42")
        bob.lobby("Bob")
        bob.page.get_by_label("Hue 24").check()
        bob.join("Bob", "red-fox-42")
        echo, comet = (
            demo.terminal("blue-owl-17", name, 60, hue)
            for name, hue in (("Echo", 312), ("Comet", 48))
        )
        watcher.page.goto(f"{demo.url}/fleet")
        expect(watcher.page.locator(".players li")).to_have_count(4, timeout=SLOW)
        watcher.page.add_style_tag(content=MATCHES_FIRST)
        eventually(lambda: demo.count("ready") == 5)
        steer([ann.page, bob.page], 4)
        shots = [data(player.page.screenshot()) for player in (ann, bob, watcher)]
        frame = browser.new_page(viewport={"width": 1260, "height": 1112})
        frame.set_content(FRAME.format(*shots))
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        frame.screenshot(path=PICTURE)
        subprocess.run(["pngquant", "256", "--force", "--output", PICTURE, PICTURE], check=True)
        for terminal in (echo, comet):
            terminal.kill()
            terminal.communicate()
        browser.close()


if __name__ == "__main__":
    main()
