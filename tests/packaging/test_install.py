"""What a user installs works in an environment that has nothing else."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, Built

# Every module is imported; those that need an extra say which package they miss.
IMPORT_ALL = """
import importlib, json, pkgutil, podfleet
missing = {}
for module in pkgutil.walk_packages(podfleet.__path__, "podfleet.", lambda name: None):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        while error.name is None and isinstance(error.__cause__, ImportError):
            error = error.__cause__
        missing[module.name] = error.name
print(json.dumps(missing))
"""


def locked() -> str:
    """Return the lock's versions, without its hashes: those would be asked of podfleet too."""
    lines = (ROOT / ".ci" / "requirements.lock").read_text().splitlines()
    return "\n".join(line.rstrip(" \\") for line in lines if not line.startswith((" ", "#")))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def optional() -> dict[str, list[str]]:
    """Return what each extra asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked: dict[str, list[str]] = project["optional-dependencies"]
    return asked


def extras() -> set[str]:
    """Return the names, to import, of what only extras bring."""
    brought = {
        normal(re.split(r"[<>=;\[ ]", line)[0]) for lines in optional().values() for line in lines
    }
    return {
        module
        for module, distributions in packages_distributions().items()
        if brought & {normal(name) for name in distributions}
    }


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_release_installs_into_an_empty_environment_and_works(
    kind: str, built: Built, tmp_path: Path
) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(locked())  # so that a release of others does not fail our tests

    def run(*arguments: object) -> str:
        command = [str(argument) for argument in (python, *arguments)]
        done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    install = ("-m", "pip", "install", "--quiet", "--no-compile", "--constraint", constraints)
    run(*install, getattr(built, kind))
    run("-m", "pip", "check")

    assert "echo: hello" in run(ROOT / "examples" / "first_endpoint.py")  # an allocate
    missing = json.loads(run("-c", IMPORT_ALL))
    assert set(missing.values()) <= extras(), missing
    assert not any(name.startswith("podfleet.fleet") for name in missing)

    run(*install, *optional()["cli"])
    assert "match-1 begins: demo-" in run("-m", "podfleet", "demo", "--seconds", "4")
