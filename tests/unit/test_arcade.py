"""The pure part of examples/arcade: the game, and what is said about it."""

import json
from contextlib import suppress
from random import Random

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from arcade import game
from arcade.game import GOLD, HEIGHT, PLAYERS, WIDTH, Dot, World
from arcade.protocol import MAX_BYTES, aim_from, hello_from, parse, state

PLACES = st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT))  # as the protocol gives them
AIMS = st.lists(st.tuples(st.integers(1, 4), st.none() | PLACES), max_size=40)


def world_of(players: int, seed: int) -> World:
    random = Random(seed)
    world = World()
    for number in range(1, players + 1):
        world = game.join(world, number, f"player {number}", number * 45, random)
    return world


@given(st.integers(0, 4), AIMS, st.integers())
def test_orbs_stay_in_the_world_and_scores_only_grow(
    players: int, aims: list[tuple[int, tuple[float, float] | None]], seed: int
) -> None:
    random = Random(seed)
    world = world_of(players, seed)
    for number, where in aims:
        before = world
        world = game.step(game.aim(world, number, where), 1 / 30, random)
        assert set(world.orbs) == set(range(1, players + 1))
        assert len(world.dots) == game.DOTS
        for one, orb in world.orbs.items():
            assert 0 <= orb.x <= WIDTH
            assert 0 <= orb.y <= HEIGHT
            assert orb.score >= before.orbs[one].score


@given(st.floats(0, WIDTH), st.floats(0, HEIGHT), st.integers())
def test_an_orb_comes_where_it_is_sent(x: float, y: float, seed: int) -> None:
    world = game.aim(world_of(1, seed), 1, (x, y))
    for _ in range(30 * 10):
        world = game.step(world, 1 / 30, Random(seed))
    assert abs(world.orbs[1].x - x) < 5
    assert abs(world.orbs[1].y - y) < 5


def test_dots_are_collected_for_what_they_are_worth() -> None:
    world = world_of(1, 0)
    orb = world.orbs[1]
    world = evolve(world, dots=(Dot(orb.x, orb.y), Dot(orb.x, orb.y, GOLD)))
    after = game.step(world, 1 / 30, Random(0))
    assert after.orbs[1].score == 1 + GOLD
    assert after.orbs[1].radius > orb.radius


def test_orbs_do_not_lie_upon_each_other() -> None:
    world = world_of(2, 1)
    near = evolve(world.orbs[1], x=world.orbs[2].x + 1, y=world.orbs[2].y)
    world = evolve(world, orbs={**world.orbs, 1: near})
    for _ in range(60):
        world = game.step(world, 1 / 30, Random(0))
    one, other = world.orbs.values()
    assert abs(one.x - other.x) > one.radius


def test_who_left_is_not_moved() -> None:
    world = game.leave(world_of(2, 0), 1)
    assert game.aim(world, 1, (0, 0)) == world
    assert set(world.orbs) == {2}


def test_the_state_of_a_full_match_fits_a_datagram_of_the_internet() -> None:
    world = World()
    for number in range(PLAYERS):
        world = game.join(world, 1000 + number, "W" * 12, 359, Random(number))
        orbs = {one: evolve(orb, x=WIDTH, y=HEIGHT, score=9999) for one, orb in world.orbs.items()}
        world = evolve(world, orbs=orbs)
    world = game.step(world, 1 / 30, Random(0))
    told = state(world, away={1000})
    assert len(told.encode()) < 1200
    assert [row[-1] for row in json.loads(told)["orbs"]] == [True] + [False] * (PLAYERS - 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some),
    max_leaves=5,
)
KEYS = st.sampled_from(["session", "player", "name", "hue", "watch", "aim"])


@given(st.dictionaries(KEYS, JSON))
def test_whatever_a_player_says_it_is_understood_or_refused(message: dict[str, object]) -> None:
    try:
        hello = hello_from(message)
    except ValueError:
        pass
    else:
        assert 1 <= len(hello.name) <= 12
        assert hello.name.isprintable()
        assert hello.player or hello.watch
    try:
        where = aim_from(message)
    except ValueError:
        return
    assert where is None or (0 <= where[0] <= WIDTH and 0 <= where[1] <= HEIGHT)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(parse(data), dict)


@pytest.mark.parametrize("text", ["[" * MAX_BYTES, '{"aim": [1' + "0" * 400 + ", NaN]}"])
def test_what_would_break_a_parser_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"aim must be|Expecting value"):
        aim_from(parse(text))


def test_a_long_message_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse(json.dumps({"aim": [1, 2], "more": "x" * MAX_BYTES}))
