"""Replicas that claim at the same time hardly lose a race, and the docs tell how many."""

from pathlib import Path

import pytest

from benchmarks import races

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


@pytest.mark.parametrize("replicas", races.REPLICAS)
def test_a_row_is_what_the_simulation_gives(replicas: int) -> None:
    _, _, table = PAGE.read_text().partition(races.HEAD + "\n")
    assert races.row(replicas) in table.splitlines()


def test_four_replicas_lose_a_race_in_a_hundred_and_pack_nevertheless() -> None:
    game = races.play(4, seed=11)
    assert game.lost <= 20
    assert game.nodes <= 20  # of 50; 10 would do
