"""Make .venv: a Python that has what the lock names, and this checkout, installed editable.

With ``--wheel``, make build/installed instead: the same, but with the wheel installed that users
get, so that what the tests run is what is released.

What the lock names stands in a venv outside the checkout, keyed by the lock and the Python, so
that a fresh clone starts in seconds; .venv is a thin layer on it, so two clones share no state.
The folder is $PODFLEET_CACHE, by default podfleet in $XDG_CACHE_HOME or ~/.cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / ".ci" / "requirements.lock"
PIP_INSTALL = ("-m", "pip", "install", "--quiet", "--no-deps")


def main() -> None:
    """Make what is missing."""
    if sys.version_info < (3, 11):
        sys.exit(f"Python {sys.version.split()[0]} is too old: make PYTHON=<Python 3.11 or later>")
    try:
        import ensurepip  # noqa: F401  (Debian packs it apart from Python)
    except ImportError:
        sys.exit("This Python cannot make venvs. On Debian: apt-get install python3-venv")

    key = digest(LOCK.read_bytes(), sys.version.encode(), sys.base_prefix.encode())
    dependencies = cache() / f"venv-{key}"
    with (cache() / "venv.lock").open("w") as lock:  # two clones may start at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        once(dependencies, "complete", lambda: install_lock(dependencies))

    venv, sources, install = ROOT / ".venv", [ROOT / "pyproject.toml"], install_checkout
    if "--wheel" in sys.argv[1:]:
        venv, sources, install = ROOT / "build" / "installed", packed(), install_wheel
    made_from = digest(*(path.read_bytes() for path in sources), bytes(ROOT), key.encode())
    once(venv, f"made-from-{made_from}", lambda: install(venv, dependencies))


def cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("PODFLEET_CACHE") or Path(home, "podfleet"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def once(folder: Path, stamp: str, make: Callable[[], None]) -> None:
    """Make a folder unless a run made it to the end: what a killed run left is thrown away."""
    if not (folder / stamp).exists():
        shutil.rmtree(folder, ignore_errors=True)
        make()
        (folder / stamp).touch()


def install_lock(venv: Path) -> None:
    print(f"Installing what {LOCK.relative_to(ROOT)} names into {venv}", flush=True)
    run(sys.executable, "-m", "venv", venv)
    run(venv / "bin/python", *PIP_INSTALL, "--require-hashes", "--requirement", LOCK)


def install_checkout(venv: Path, dependencies: Path) -> None:
    layer(venv, dependencies)
    run(venv / "bin/python", *PIP_INSTALL, "--no-build-isolation", "--editable", ROOT)


def packed() -> list[Path]:
    """Return the files that a wheel is made of."""
    package = sorted(path for path in (ROOT / "src").rglob("*") if path.is_file())
    code = [path for path in package if path.suffix != ".pyc"]
    return [*(ROOT / name for name in ("LICENSE", "README.md", "pyproject.toml")), *code]


def install_wheel(venv: Path, dependencies: Path) -> None:
    layer(venv, dependencies)
    run(venv / "bin/python", "-m", "hatchling", "build", "-t", "wheel", "-d", venv / "dist")
    run(venv / "bin/python", *PIP_INSTALL, *(venv / "dist").glob("*.whl"))


def layer(venv: Path, dependencies: Path) -> None:
    """Make an environment without pip that sees what stands in another."""
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    (packages(venv) / "dependencies.pth").write_text(f"{packages(dependencies)}\n")


def packages(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"))


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], cwd=ROOT)
    if done.returncode:  # pip has said why
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
