"""The game: orbs follow their players' pointers and collect dots. Pure; no I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from random import Random

from attrs import evolve, field, frozen

__all__ = ["HEIGHT", "PLAYERS", "WIDTH", "Dot", "Orb", "World", "aim", "join", "leave", "step"]

WIDTH, HEIGHT = 1600.0, 900.0
PLAYERS = 8
DOTS = 14
GOLD = 5  # what a golden dot is worth

_SPEED = 520.0  # units a second
_GRIP = 5.0  # how fast an orb takes on the speed that its player wants, per second
_EASE = 120.0  # an orb this near to its aim slows down


@frozen
class Dot:
    """Something to collect.

    Attributes:
        x: From the left.
        y: From the top.
        worth: Points.
    """

    x: float
    y: float
    worth: int = 1


@frozen
class Orb:
    """A player.

    Attributes:
        name: What the others read.
        hue: Its colour, in degrees.
        x: From the left.
        y: From the top.
        vx: Units a second.
        vy: Units a second.
        aim: Where it goes; ``None`` to stop.
        score: Points.
    """

    name: str
    hue: int
    x: float
    y: float
    vx: float = 0.0
    vy: float = 0.0
    aim: tuple[float, float] | None = None
    score: int = 0

    @property
    def radius(self) -> float:
        """It grows with its score."""
        return min(18.0 + 2.5 * math.sqrt(self.score), 52.0)


@frozen
class World:
    """All there is in a match.

    Attributes:
        orbs: The players, by their number.
        dots: What is to be collected.
    """

    orbs: Mapping[int, Orb] = field(factory=dict)
    dots: tuple[Dot, ...] = ()


def join(world: World, number: int, name: str, hue: int, random: Random) -> World:
    """Return the world with one more orb.

    Example:
        >>> world = join(World(), 1, "Ann", 200, Random(1))
        >>> world.orbs[1].name, world.orbs[1].score
        ('Ann', 0)
    """
    x, y = _somewhere(random)
    return evolve(world, orbs={**world.orbs, number: Orb(name, hue % 360, x, y)})


def leave(world: World, number: int) -> World:
    """Return the world without an orb."""
    return evolve(world, orbs={key: orb for key, orb in world.orbs.items() if key != number})


def aim(world: World, number: int, where: tuple[float, float] | None) -> World:
    """Return the world in which an orb goes somewhere else; an orb that left stays away."""
    if number not in world.orbs:
        return world
    return evolve(world, orbs={**world.orbs, number: evolve(world.orbs[number], aim=where)})


def step(world: World, seconds: float, random: Random) -> World:
    """Return the world a moment later.

    Args:
        world: The world now.
        seconds: How much later.
        random: Says where new dots are.
    """
    orbs = {number: _moved(orb, seconds) for number, orb in world.orbs.items()}
    orbs = {number: _bounced(orb, orbs.values()) for number, orb in orbs.items()}
    left = []
    for dot in world.dots:
        taker = next((number for number, orb in orbs.items() if _reaches(orb, dot)), None)
        if taker is None:
            left.append(dot)
        else:
            orbs[taker] = evolve(orbs[taker], score=orbs[taker].score + dot.worth)
    new = [_dot(random) for _ in range(DOTS - len(left))]
    return World(orbs, (*left, *new))


def _moved(orb: Orb, seconds: float) -> Orb:
    want_x = want_y = 0.0
    if orb.aim is not None:
        dx, dy = orb.aim[0] - orb.x, orb.aim[1] - orb.y
        distance = math.hypot(dx, dy)
        if distance > 1:
            speed = _SPEED * min(1.0, distance / _EASE)
            want_x, want_y = dx / distance * speed, dy / distance * speed
    grip = min(1.0, _GRIP * seconds)
    vx = orb.vx + (want_x - orb.vx) * grip
    vy = orb.vy + (want_y - orb.vy) * grip
    x, y = orb.x + vx * seconds, orb.y + vy * seconds
    return evolve(orb, x=_within(x, WIDTH), y=_within(y, HEIGHT), vx=vx, vy=vy)


def _bounced(orb: Orb, orbs: Iterable[Orb]) -> Orb:
    """Push an orb out of the others, and away from them."""
    for other in orbs:
        dx, dy = orb.x - other.x, orb.y - other.y
        distance = math.hypot(dx, dy)
        overlap = orb.radius + other.radius - distance
        if distance > 0 and overlap > 0:
            nx, ny = dx / distance, dy / distance
            orb = evolve(
                orb,
                x=_within(orb.x + nx * overlap / 2, WIDTH),
                y=_within(orb.y + ny * overlap / 2, HEIGHT),
                vx=orb.vx + nx * 240,
                vy=orb.vy + ny * 240,
            )
    return orb


def _reaches(orb: Orb, dot: Dot) -> bool:
    return math.hypot(orb.x - dot.x, orb.y - dot.y) < orb.radius + 8


def _dot(random: Random) -> Dot:
    return Dot(*_somewhere(random), GOLD if random.random() < 0.1 else 1)


def _somewhere(random: Random) -> tuple[float, float]:
    return random.uniform(60, WIDTH - 60), random.uniform(60, HEIGHT - 60)


def _within(value: float, end: float) -> float:
    return min(max(value, 0.0), end)
