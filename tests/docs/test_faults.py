"""The table of operations and faults is the one that the tests play."""

from podfleet.errors import PodfleetError
from tests.docs import faults
from tests.live.matrix import FAILURES, expected
from tests.live.matrix_operations import OPERATIONS


def test_the_table_is_that_of_the_matrix() -> None:
    assert faults.PAGE.read_text() == faults.page(), "run python -m tests.docs.faults"


def test_every_cell_is_a_result_or_an_error_of_podfleets() -> None:
    for operation in OPERATIONS.values():
        for failure in FAILURES.values():
            ends = expected(operation, failure)
            assert ends
            assert all(one is None or issubclass(one, PodfleetError) for one in ends)
