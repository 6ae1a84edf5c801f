"""The table of what podfleet relies on is the one that the tests give."""

from tests.docs import behaviours


def test_the_table_is_that_of_the_tests() -> None:
    assert behaviours.PAGE.read_text() == behaviours.page(), "run python -m tests.docs.behaviours"
