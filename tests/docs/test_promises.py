"""Each promise names tests that show it, and these exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROMISED = (ROOT / "docs" / "promises.md").read_text().partition("## Promised")[2]
PROMISES = re.split(r"^- ", PROMISED.partition("## Not promised")[0], flags=re.MULTILINE)[1:]
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_each_promise_names_a_test_that_exists() -> None:
    assert len(PROMISES) >= 10
    for promise in PROMISES:
        named = TEST.findall(promise)
        assert named, promise
        for file, function in named:
            text = (ROOT / file).read_text()
            assert not function or f"def {function}(" in text, f"{file}::{function}"
