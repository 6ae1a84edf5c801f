"""The simulated day runs, and the table of the docs is what it gives."""

from pathlib import Path

import pytest

from benchmarks import scaling_day
from benchmarks.day import Match, day

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


@pytest.fixture(scope="module")
def matches() -> list[Match]:
    return day()


def test_the_table_has_a_row_for_each_policy() -> None:
    _, _, rows = PAGE.read_text().partition(scaling_day.HEAD + "\n")
    table, _, _ = rows.partition("\n\n")
    assert [row.split("`")[1] for row in table.splitlines()] == list(scaling_day.POLICIES)


@pytest.mark.parametrize("name", ["Buffer(50)", "Demand()", "Schedule"])  # all take seconds
def test_a_row_is_what_the_simulation_gives(name: str, matches: list[Match]) -> None:
    assert scaling_day.row(scaling_day.simulate(name, matches)) in PAGE.read_text().splitlines()


def test_the_page_has_the_function_that_is_simulated() -> None:
    assert 'return max(Demand().free(load), Buffer("5%").free(load))' in PAGE.read_text()
