"""Play in the terminal, over UDP, in the same match as the browsers.

``python -m arcade.udp_client red-fox-42`` plays by itself; the arrow keys take over. Without a
terminal it prints a line a second instead.
"""

from __future__ import annotations

import argparse
import contextlib
import curses
import json
import math
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from attrs import define, field

from arcade.game import HEIGHT, WIDTH

SEND = 0.05  # seconds between two datagrams
LOST = 2.0  # seconds without an answer: ask the backend again
MANUAL = 1.0  # seconds that an arrow key holds
KEYS = {
    curses.KEY_LEFT: (-1.0, 0.0),
    curses.KEY_RIGHT: (1.0, 0.0),
    curses.KEY_UP: (0.0, -1.0),
    curses.KEY_DOWN: (0.0, 1.0),
}

Place = tuple[float, float]


def endpoint(url: str, session: str) -> tuple[str, int]:
    """Return what to dial for a match: the backend is asked until it knows."""
    while True:
        asked = urllib.request.Request(f"{url}/api/matches/{session}", method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(asked, timeout=40) as answer:  # noqa: S310
                host, _, port = json.load(answer)["endpoint"].rpartition(":")
                return host.strip("[]"), int(port)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                sys.exit(f"{url}: {error.read().decode()}")
        except urllib.error.URLError as error:
            print(f"{url}: {error.reason}: trying again", file=sys.stderr)
        time.sleep(1)


@define
class Player:
    """Somebody in a match, over UDP."""

    url: str
    session: str
    name: str
    hue: int
    secret: str = field(factory=lambda: secrets.token_hex(8))
    token: str = ""
    number: int | None = None
    world: dict[str, Any] = field(factory=lambda: {"orbs": [], "dots": []})
    address: tuple[str, int] | None = None
    aim: Place | None = None

    def play(self) -> Iterator[None]:
        """Talk with the match's server, whichever it is; yield about twenty times a second."""
        while True:
            self.address = endpoint(self.url, self.session)
            self.token, heard = "", time.monotonic()
            family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as game:
                game.connect(self.address)
                game.settimeout(SEND)
                while time.monotonic() - heard < LOST:
                    due = time.monotonic() + SEND
                    # A server that has just ended refuses datagrams.
                    with contextlib.suppress(ConnectionRefusedError, TimeoutError):
                        game.send(self._words())
                        while time.monotonic() < due:
                            if self._hear(json.loads(game.recv(65535))):
                                heard = time.monotonic()
                    time.sleep(max(0.0, due - time.monotonic()))
                    yield

    @property
    def where(self) -> str:
        """The server that it plays on."""
        return "{}:{}/UDP".format(*self.address) if self.address else "no server yet"

    @property
    def orb(self) -> list[Any] | None:
        """What the server says of our orb."""
        return next((one for one in self.world["orbs"] if one[0] == self.number), None)

    def nearest(self) -> Place | None:
        """Return the nearest dot."""
        orb = self.orb
        if orb is None:
            return None
        dots = [(float(x), float(y)) for x, y, _ in self.world["dots"]]
        return min(dots, key=lambda dot: math.dist(dot, orb[3:5]), default=None)

    def _words(self) -> bytes:
        words = {"session": self.session, "player": self.secret, "name": self.name}
        more = {"hue": self.hue, "token": self.token, "aim": self.aim}
        return json.dumps({**words, **more}).encode()

    def _hear(self, message: dict[str, Any]) -> bool:
        if "token" in message:
            self.token = message["token"]
        elif "you" in message:
            self.number = message["you"]
        elif "orbs" in message:
            self.world = message
        return "orbs" in message


def on_screen(screen: curses.window, player: Player) -> None:
    """Play in a terminal until q is pressed."""
    curses.curs_set(0)
    curses.use_default_colors()
    screen.nodelay(True)
    manual = 0.0
    for _ in player.play():
        key = screen.getch()
        if key == ord("q"):
            return
        orb = player.orb
        if orb and key in KEYS:
            dx, dy = KEYS[key]
            player.aim, manual = (orb[3] + dx * 400, orb[4] + dy * 400), time.monotonic()
        elif time.monotonic() - manual > MANUAL:
            player.aim = player.nearest()
        draw(screen, player)


def draw(screen: curses.window, player: Player) -> None:
    """Draw the world."""
    rows, columns = screen.getmaxyx()
    screen.erase()

    def put(x: float, y: float, text: str, style: int = 0) -> None:
        row = min(1 + int(y / HEIGHT * (rows - 2)), rows - 1)
        column = min(int(x / WIDTH * columns), columns - len(text) - 1)
        with contextlib.suppress(curses.error):  # a terminal of a few letters
            screen.addstr(row, max(column, 0), text, style)

    title = f" {player.session} at {player.where}   arrows: steer   q: leave "
    screen.addnstr(0, 0, title.ljust(columns - 1), columns - 1, curses.A_REVERSE)
    for x, y, worth in player.world["dots"]:
        put(x, y, "$" if worth > 1 else ".")
    for number, name, _, x, y, _, score, _ in player.world["orbs"]:
        put(x, y, f"({name} {score})", curses.A_BOLD if number == player.number else 0)
    screen.refresh()


def in_lines(player: Player, seconds: float) -> None:
    """Play by itself and print the scores, once a second."""
    end, said = time.monotonic() + seconds, 0.0
    for _ in player.play():
        player.aim = player.nearest()
        if time.monotonic() > end:
            return
        if player.orb and time.monotonic() - said > 1:
            said = time.monotonic()
            scores = ", ".join(f"{orb[1]} {orb[6]}" for orb in player.world["orbs"])
            print(f"{player.where}: {scores}", flush=True)


def main() -> None:
    """Play."""
    parser = argparse.ArgumentParser(prog="python -m arcade.udp_client", description=__doc__)
    parser.add_argument("session", nargs="?", default=f"udp-{secrets.token_hex(2)}", help="match")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the backend's")
    parser.add_argument("--name", default="Terminal", help="what the others read")
    parser.add_argument("--hue", type=int, default=130, help="colour, in degrees")
    parser.add_argument("--seconds", type=float, default=math.inf, help="print scores so long")
    chosen = parser.parse_args()
    player = Player(chosen.url, chosen.session, chosen.name, chosen.hue)
    with contextlib.suppress(KeyboardInterrupt):
        if sys.stdout.isatty() and math.isinf(chosen.seconds):
            curses.wrapper(on_screen, player)
        else:
            in_lines(player, chosen.seconds)


if __name__ == "__main__":
    main()
