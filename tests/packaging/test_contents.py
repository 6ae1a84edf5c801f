"""The wheel and the sdist hold what they should, and nothing else."""

import json
import re
import subprocess
import sys
import tarfile
import tomllib
from email import message_from_string
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import podfleet
from tests.packaging.conftest import ROOT, Built

PACKAGE = ROOT / "src" / "podfleet"
SDIST_FOLDERS = {".ci", "benchmarks", "docs", "examples", "src", "tests"}
SDIST_FILES = {
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "PKG-INFO",
    "README.md",
    "RELEASING.md",
    "SECURITY.md",
    "pyproject.toml",
}


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_its_types_and_the_licence(built: Built) -> None:
    packed = set(ZipFile(built.wheel).namelist())
    (info,) = {name.partition("/")[0] for name in packed if ".dist-info/" in name}
    metadata = {name for name in packed if name.startswith(f"{info}/")}
    assert packed - metadata == {name.removeprefix("src/") for name in files(PACKAGE)}
    assert "podfleet/py.typed" in packed
    kept = {name.removeprefix(f"{info}/") for name in metadata} - {"entry_points.txt"}
    assert kept == {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}


def test_the_sdist_holds_the_sources_the_tests_and_the_docs(built: Built) -> None:
    with tarfile.open(built.sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {name for name in names if "/" not in name} == SDIST_FILES
    expected = {name for folder in SDIST_FOLDERS for name in files(ROOT / folder)}
    assert {name for name in names if "/" in name} == expected


def test_the_wheel_of_the_sdist_is_that_of_the_checkout(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as packed:
        packed.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    assert (tmp_path / built.wheel.name).read_bytes() == built.wheel.read_bytes()


def test_the_metadata_is_complete(built: Built) -> None:
    with ZipFile(built.wheel) as packed:
        (name,) = [name for name in packed.namelist() if name.endswith("/METADATA")]
        metadata = message_from_string(packed.read(name).decode())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata["Name"] == "podfleet"
    assert metadata["Version"] == project["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    assert metadata["Keywords"]
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    plain = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    declared = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    assert {re.split(r"[<>=]", line)[0] for line in plain} == declared
    assert set(metadata.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])


def test_the_package_under_test_is_the_installed_one() -> None:
    """In the environment of `make wheel` it is the wheel's, not that of the source tree."""
    installed = distribution("podfleet")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable", False)
    folder = PACKAGE if editable else Path(str(installed.locate_file("podfleet")))
    assert Path(podfleet.__file__).parent == folder
