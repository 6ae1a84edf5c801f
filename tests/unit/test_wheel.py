"""The wheel that users install holds all that the package needs."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_every_module_the_types_and_the_licence(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(ZipFile(wheel).namelist())

    package = ROOT / "src" / "podfleet"
    sources = {*package.rglob("*.py"), package / "py.typed"}
    assert {str(path.relative_to(package.parent)) for path in sources} <= packed
    assert any(name.endswith("/licenses/LICENSE") for name in packed)
    assert all(name.startswith(("podfleet/", "podfleet-")) for name in packed)
