"""The pages that list things list all of them."""

import re
from pathlib import Path

import pytest

import podfleet
from podfleet import errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = (DOCS / "api.md").read_text()
KINDS = {"PodfleetError", "ApiError", "AllocationError"}  # told in the text: what they stand for


@pytest.mark.parametrize("name", podfleet.__all__)
def test_the_reference_has_every_public_name(name: str) -> None:
    assert re.search(
        rf"^\.\. auto(class|exception|function):: podfleet\.{name}$", REFERENCE, re.MULTILINE
    )


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - KINDS))
def test_every_error_has_what_happened_and_a_remedy(name: str) -> None:
    page = (DOCS / "errors.md").read_text()
    rows = re.findall(rf"^\| `{name}` \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert len(rows) == 1


def test_the_kinds_of_errors_are_told() -> None:
    page = (DOCS / "errors.md").read_text()
    assert all(name in page for name in KINDS)


def test_no_error_is_told_that_there_is_not() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    assert set(rows) == set(errors.__all__) - KINDS


def test_every_error_is_raised_by_name_from_the_package() -> None:
    assert set(errors.__all__) <= set(podfleet.__all__)


def test_the_list_of_examples_has_every_one() -> None:
    page = (ROOT / "examples" / "README.md").read_text()
    told = set(re.findall(r"^\| \[(\w+\.py)\]\(\1\)", page, re.MULTILINE))
    assert told == {path.name for path in (ROOT / "examples").glob("*.py")}
