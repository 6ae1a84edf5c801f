"""`import podfleet` brings what it needs, and nothing else. Its time: `benchmarks/imports.py`."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import imports

# Bottom to top, what a backend needs; the rest is imported by those who use it.
OPTIONAL = ("bench", "cli", "demo", "local", "metrics", "testing", "tracing")
HEAVY = {"multiprocessing", "pydoc", "sqlite3", "tkinter", "unittest", "xmlrpc"}


def loaded(statement: str) -> set[str]:
    """Return the modules that a fresh Python has after a statement."""
    code = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path.home()
    )
    return set(json.loads(done.stdout))


def test_podfleet_imports_nothing_but_the_client_and_what_it_declares() -> None:
    added = loaded("import podfleet") - loaded(imports.CLIENT)
    packages = {name.partition(".")[0] for name in added} - sys.stdlib_module_names
    assert packages == {"attrs", "podfleet", "tenacity"}
    assert not HEAVY & {name.partition(".")[0] for name in added}


def test_what_only_some_need_is_not_imported() -> None:
    layers = {name.split(".")[1] for name in loaded("import podfleet") if "podfleet." in name}
    assert not layers & set(OPTIONAL)


def test_the_client_is_what_podfleet_imports_of_it() -> None:
    """Else the benchmark would call the client's own what only podfleet asks for."""
    assert loaded(imports.CLIENT) <= loaded("import podfleet")


def test_the_import_benchmark_measures_what_it_says() -> None:
    cost = imports.measure(2)
    assert len(cost.client) == len(cost.podfleet) == 2
    assert min(cost.client) > 0
    assert "ms beyond the client" in imports.report(cost)
