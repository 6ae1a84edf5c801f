"""A user's programs, as mypy and pyright see them: with podfleet installed, and strict."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
MISTAKE = re.compile(r"  # (?P<mypy>[\w-]+), (?P<pyright>report\w+(?: report\w+)*)$")
ROOT = Path(__file__).parents[2]

Mistake = tuple[str, int, str]
"""A file, a line, and the rule that it breaks."""


def expected(checker: str) -> set[Mistake]:
    return {
        (path.name, number, rule)
        for path in PROGRAMS.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if (said := MISTAKE.search(line))
        for rule in said[checker].split()
    }


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Copy the programs to where no configuration of ours is found."""
    shutil.copytree(PROGRAMS, tmp_path / "programs", ignore=shutil.ignore_patterns("__*"))
    return tmp_path / "programs"


def run(programs: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *(str(argument) for argument in arguments)],
        cwd=programs,
        text=True,
        capture_output=True,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},  # asks no index for news
    )


def test_mypy_accepts_what_is_right_and_refuses_what_is_wrong(programs: Path) -> None:
    cache = ROOT / ".mypy_cache" / "programs"
    options = ("--config-file=", "--strict", "--output=json", f"--cache-dir={cache}")
    done = run(programs, "mypy", *options, *sorted(programs.glob("*.py")))
    assert not done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    found = {
        (Path(one["file"]).name, one["line"], one["code"])
        for one in told
        if one["severity"] == "error"
    }
    assert found == expected("mypy"), done.stdout


def test_pyright_accepts_what_is_right_and_refuses_what_is_wrong(programs: Path) -> None:
    (programs / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    done = run(programs, "pyright", "--outputjson", "--pythonpath", sys.executable)
    told = json.loads(done.stdout)["generalDiagnostics"]
    found = {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["rule"])
        for one in told
        if one["severity"] == "error"
    }
    assert found == expected("pyright"), [one["message"] for one in told]
