"""Every error, provoked through the command: its exit code, and how it reads."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from podfleet.errors import PodfleetError
from tests.cluster.fixtures import Backend
from tests.live.provocations import PROVOCATIONS, UNPROVOKED, Provocation, scene

# The console script's own, but it tells which error it ended with.
COMMAND = """
import sys
from podfleet.__main__ import main
try:
    main()
except SystemExit as ended:
    print(type(ended.__context__).__name__)
    raise
"""


def kinds(root: type[PodfleetError] = PodfleetError) -> set[type[PodfleetError]]:
    """Return every class of error that podfleet has."""
    below = {kind for one in root.__subclasses__() for kind in kinds(one)}
    return {one for one in {root, *below} if one.__module__.startswith("podfleet.")}


def test_every_error_is_provoked_or_it_is_said_why_not() -> None:
    provoked = {one.error for one in PROVOCATIONS}
    assert provoked | set(UNPROVOKED) == kinds()
    assert not provoked & set(UNPROVOKED)


@pytest.mark.parametrize("one", PROVOCATIONS, ids=str)
def test_an_error_has_its_code_and_reads_well(
    backend: Backend, tmp_path: Path, one: Provocation
) -> None:
    with scene(backend, tmp_path) as here:
        one.prepare(here)
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *one.arguments.split()],
            cwd=tmp_path,
            env=here.desk.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    said = done.stderr
    print(said)  # to be read: pytest -rP
    assert (done.stdout, done.returncode) == (f"{one.error.__name__}\n", one.code)
    progress, _, rest = said.partition("podfleet: ")
    assert one.arguments.startswith("bench ") or not progress
    first = rest.splitlines()[0]
    assert first == " ".join(first.split())
    assert len(first) < 500
    for trace in ("Traceback", "<class", "object at 0x", "..", "None", "{", "}"):
        assert trace not in rest
    assert re.search(".*".join(one.says), said, re.DOTALL | re.MULTILINE), said
