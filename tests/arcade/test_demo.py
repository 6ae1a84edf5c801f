"""The web game of `make demo`, played in Chromium."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import urllib.error
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from podfleet.testing.cluster import eventually
from tests.arcade.demo import ENVIRONMENT, Demo
from tests.arcade.player import SLOW, Open
from tests.browser.chromium import DESKTOP, PHONE

pytestmark = pytest.mark.xdist_group("arcade")  # one demo for all


def test_a_page_is_there_within_a_minute(demo: Demo) -> None:
    assert demo.seconds < 60


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_two_browsers_see_each_other_move_and_a_third_has_another_server(
    enter: Open, size: tuple[int, int]
) -> None:
    ann, bob, eve = enter(size), enter(size), enter(size)
    session = ann.create("Ann")
    bob.join("Bob", session)
    ann.expect_players("Ann", "Bob")
    bob.expect_players("Ann", "Bob")
    assert ann.server == bob.server

    x, y = ann.orb("Ann")["x"], ann.orb("Ann")["y"]
    left = x > 800
    ann.page.mouse.move(20 if left else size[0] - 20, size[1] / 2)
    bob.until(lambda: abs(bob.orb("Ann")["x"] - x) + abs(bob.orb("Ann")["y"] - y) > 100)

    ann.page.mouse.move(-1, -1)
    before = bob.orb("Bob")["x"]
    key = "ArrowLeft" if before > 800 else "ArrowRight"
    bob.page.keyboard.down(key)
    ann.until(lambda: abs(ann.orb("Bob")["x"] - before) > 100)
    bob.page.keyboard.up(key)

    eve.create("Eve")
    assert eve.server != ann.server
    assert eve.page.locator("#scores li").count() == 1


def test_a_finger_steers(enter: Open) -> None:
    ann = enter(PHONE, has_touch=True)
    ann.create("Ann")
    before = ann.orb("Ann")
    ann.page.touchscreen.tap(195, 820 if before["y"] < 450 else 80)
    ann.until(lambda: abs(ann.orb("Ann")["y"] - before["y"]) > 60)


def test_a_reload_comes_back_to_the_same_server_and_score(enter: Open) -> None:
    ann = enter()
    ann.create("Ann")
    server, number = ann.server, ann.orb("Ann")["number"]
    ann.told.clear()
    ann.page.reload()
    ann.until_in_match("Ann")
    assert ann.server == server
    assert ann.page.locator("#scores li").count() == 1
    assert ann.orb("Ann")["number"] == number == ann.told["you"]


def test_a_killed_game_server_is_shown_and_replaced(enter: Open, demo: Demo) -> None:
    ann, watcher = enter(), enter()
    session = ann.create("Ann")
    lost = ann.server
    watcher.page.goto(f"{demo.url}/fleet")
    card = watcher.page.locator(f"[data-server={lost}]")
    expect(card.locator(".players")).to_contain_text("Ann", timeout=SLOW)
    expect(watcher.page.locator("#ready")).to_have_text("5", timeout=SLOW)
    terminal = demo.terminal(session, "Terminal", seconds=300)
    ann.expect_players("Ann", "Terminal")

    card.get_by_role("button", name="Crash it").click()

    log = watcher.page.locator("#log li[data-state=lost]")
    expect(log).to_contain_text(lost, timeout=SLOW)
    expect(log).to_contain_text(session)
    expect(watcher.page.locator("#lost-rate")).to_have_text("1", timeout=SLOW)
    expect(card).to_have_attribute("data-state", "ended", timeout=SLOW)
    expect(card).to_contain_text("code 137")
    ann.until(lambda: ann.server != lost)
    ann.until_in_match("Ann")
    expect(ann.page.locator("#notice")).to_be_hidden(timeout=SLOW)
    ann.expect_players("Ann", "Terminal")
    terminal.kill()
    terminal.communicate()
    new = watcher.page.locator(f"[data-server={ann.server}]")
    expect(new.locator(".players")).to_contain_text("Ann", timeout=SLOW)
    expect(watcher.page.locator("#ready")).to_have_text("5", timeout=SLOW)


def test_a_match_that_is_ended_says_so(enter: Open, demo: Demo) -> None:
    ann, watcher = enter(), enter()
    session = ann.create("Ann")
    watcher.page.goto(f"{demo.url}/fleet")
    card = watcher.page.locator(f"[data-server={ann.server}]")
    card.get_by_role("button", name="End match").click()
    expect(ann.page.locator("#notice")).to_contain_text("The match is over.", timeout=SLOW)
    ann.page.get_by_role("link", name="Back to the lobby", exact=True).last.click()
    expect(ann.page.get_by_text("Nobody plays at the moment")).to_be_visible(timeout=SLOW)
    ann.page.get_by_label("Its code").fill(session)
    ann.page.get_by_role("button", name="Join", exact=True).click()
    expect(ann.page.get_by_role("alert")).to_have_text(f"There is no match {session}.")


def test_killed_workers_of_the_backend_are_not_missed(enter: Open, demo: Demo) -> None:
    ann, watcher = enter(), enter()
    session = ann.create("Ann")
    watcher.page.goto(f"{demo.url}/fleet")
    expect(watcher.page.locator("#link")).to_have_text("live", timeout=SLOW)
    killed: set[int] = set()
    while len(killed) < 3:
        worker = demo.fleet()["worker"]
        if worker not in killed:
            os.kill(worker, signal.SIGKILL)
            killed.add(worker)

            def answers() -> bool:
                try:
                    return bool(demo.fleet()["worker"] not in killed)
                except OSError:
                    return False

            eventually(answers, 60)
    assert demo.get(f"/api/matches/{session}", "POST")["name"] == ann.server
    expect(watcher.page.locator("#link")).to_have_text("live", timeout=SLOW)
    card = watcher.page.locator(f"[data-server={ann.server}]")
    expect(card.locator(".players")).to_contain_text("Ann", timeout=SLOW)
    bob = enter()
    bob.join("Bob", session)
    ann.expect_players("Ann", "Bob")


def test_the_terminal_plays_in_the_same_match_over_udp(enter: Open, demo: Demo) -> None:
    ann = enter()
    session = ann.create("Ann")
    with demo.terminal(session, "Terminal", seconds=8) as terminal:
        ann.expect_players("Terminal")
        before = ann.orb("Terminal")
        ann.until(lambda: ann.orb("Terminal")["score"] > 0)
        ann.until(lambda: ann.orb("Terminal")["x"] != before["x"])
        said, _ = terminal.communicate(timeout=30)
    assert re.search(r"^127\.[\d.]+:70\d\d/UDP: Ann 0, Terminal \d+$", said, re.MULTILINE), said
    ann.until(lambda: bool(ann.orb("Terminal")["away"]))


def test_the_terminal_draws_the_match_until_q_is_pressed(demo: Demo) -> None:
    terminal, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    words = [sys.executable, "-m", "arcade.udp_client", "jade-owl-11", "--url", demo.url]
    environment = {**ENVIRONMENT, "TERM": "xterm"}
    with subprocess.Popen(words, env=environment, stdin=screen, stdout=screen) as playing:
        os.close(screen)
        drawn = b""
        while b"(Terminal 0)" not in drawn:
            drawn += os.read(terminal, 4096)
        os.write(terminal, b"\x1bOCq")
        assert playing.wait(SLOW / 1000) == 0
    os.close(terminal)
    assert re.search(rb"jade-owl-11 at 127[\d.]+:70\d\d/UDP", drawn)


def test_a_code_that_is_none_is_refused(demo: Demo) -> None:
    with pytest.raises(urllib.error.HTTPError, match="422"):
        demo.get("/api/matches/A_B", "POST").close()


def test_ctrl_c_ends_it_and_leaves_no_process() -> None:
    with Demo() as demo:
        demo.get("/api/matches/red-fox-42", "POST")
        assert len(demo.processes()) > 8  # the demo, three workers, five servers
        with urlopen(f"{demo.url}/api/fleet", timeout=30) as page:
            assert page.readline() == b"event: happened\n"
            assert demo.interrupt() == 0
        eventually(lambda: demo.processes() == [], 20)
        assert demo.said.splitlines()[-1] == "Ctrl-C ends it."  # nothing is complained of
