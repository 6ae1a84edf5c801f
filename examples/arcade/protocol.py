"""What players and a game server say to each other: JSON, the same over WebSocket and UDP. Pure."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from arcade.game import HEIGHT, WIDTH, Orb, World

__all__ = ["MAX_BYTES", "Hello", "aim_from", "hello_from", "parse", "state"]

MAX_BYTES = 512  # of a message from a player: strangers send them too

_FAR = 1e9


@frozen
class Hello:
    """What a player says first.

    Attributes:
        session: The match that it was sent to.
        player: Its secret: with the same one it is the same orb again, as after a reload.
        name: What the others read.
        hue: Its colour, in degrees.
        watch: It only looks on.
    """

    session: str
    player: str = ""
    name: str = ""
    hue: int = 0
    watch: bool = False


def parse(text: str | bytes) -> dict[str, Any]:
    """Return a message's JSON object.

    Raises:
        ValueError: It is none, or too long.
    """
    if len(text) > MAX_BYTES:
        raise ValueError("too long")
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("must be an object")
    return message


def hello_from(message: dict[str, Any]) -> Hello:
    r"""Return what a player says first.

    Raises:
        ValueError: It is not that.

    Example:
        >>> hello_from({"session": "red-fox", "player": "s3cret", "name": " Ann\n", "hue": 200})
        Hello(session='red-fox', player='s3cret', name='Ann', hue=200, watch=False)
    """
    session, player = message.get("session"), message.get("player", "")
    name, hue = message.get("name", ""), message.get("hue", 0)
    watch = message.get("watch", False)
    if not isinstance(session, str) or not isinstance(name, str) or not isinstance(watch, bool):
        raise ValueError("needs a session, and a name")
    if not isinstance(hue, int) or not isinstance(player, str) or not (watch or player):
        raise ValueError("needs a player, and a hue")
    shown = "".join(letter for letter in name if letter.isprintable()).strip()[:12]
    return Hello(session, player, shown or "Someone", hue, watch)


def aim_from(message: dict[str, Any]) -> tuple[float, float] | None:
    """Return where a player wants to go; ``None`` to stop.

    Raises:
        ValueError: It is no place.

    Example:
        >>> aim_from({"aim": [10, 99999]})
        (10.0, 900.0)
    """
    where = message.get("aim")
    if where is None:
        return None
    if not isinstance(where, list) or len(where) != 2:
        raise ValueError("aim must be [x, y], or null")
    if not all(isinstance(part, int | float) and abs(part) < _FAR for part in where):
        raise ValueError("aim must be two numbers")
    return min(max(float(where[0]), 0.0), WIDTH), min(max(float(where[1]), 0.0), HEIGHT)


def state(world: World, away: set[int]) -> str:
    """Return what everybody is told of the world, thirty times a second.

    Args:
        world: The world.
        away: The orbs whose players are not connected.
    """
    orbs = [_row(number, orb, number in away) for number, orb in world.orbs.items()]
    dots = [[round(dot.x), round(dot.y), dot.worth] for dot in world.dots]
    return json.dumps({"orbs": orbs, "dots": dots}, separators=(",", ":"))


def _row(number: int, orb: Orb, away: bool) -> list[Any]:
    place = [round(orb.x), round(orb.y), round(orb.radius)]
    return [number, orb.name, orb.hue, *place, orb.score, away]
