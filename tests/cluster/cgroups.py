"""Cgroups of the cluster: where its processes are counted, limited, and found again.

Everything that a cluster starts, and everything that that starts, lives below one cgroup. So a
later run can end, each by its id, all processes that a killed one left behind.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OURS = "podfleet-test"
_DEADLINE = 20.0  # seconds


def unified() -> bool:
    """Return whether this machine has cgroups v2 alone."""
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """Return the root of every hierarchy: one with v2, one a controller with v1."""
    if unified():
        return [ROOT]
    return [
        folder
        for folder in sorted(ROOT.iterdir())
        if folder.is_dir() and not folder.is_symlink() and (folder / "cgroup.procs").exists()
    ]


def create(name: str) -> list[Path]:
    """Make a cgroup below ours in every hierarchy, ready to take processes."""
    made = []
    for hierarchy in hierarchies():
        parent = hierarchy
        for part in (OURS, *name.split("/")):
            if unified():
                _delegate(parent)
            group = parent / part
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new v1 cpuset
                with suppress(FileNotFoundError):
                    value = (parent / setting).read_text().strip()
                    if value and not (group / setting).read_text().strip():
                        (group / setting).write_text(value)
            parent = group
        made.append(parent)
    return made


def processes() -> set[int]:
    """Return the ids of all processes below our cgroup."""
    found: set[int] = set()
    for group in _groups():
        with suppress(FileNotFoundError):
            found |= {int(line) for line in (group / "cgroup.procs").read_text().split()}
    # A process outside our own PID namespace reads as 0; to signal 0 is to signal ourselves.
    return found - {0}


def remove() -> None:
    """End every process below our cgroup, by its id, then remove the cgroup itself.

    Raises:
        RuntimeError: A process would not end, or a cgroup not go.
    """
    deadline = time.monotonic() + _DEADLINE
    while left := processes():
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _pause(deadline, f"these processes do not end: {sorted(left)}")
    while groups := list(_groups()):
        for group in groups:
            with suppress(OSError):  # busy until its last process is reaped
                group.rmdir()
        if any(group.exists() for group in groups):
            _pause(deadline, f"these cgroups do not go: {groups}")


def _groups() -> Iterator[Path]:
    """Yield every cgroup of ours, the deepest first."""
    for hierarchy in hierarchies():
        if (hierarchy / OURS).exists():
            for folder, _, _ in os.walk(hierarchy / OURS, topdown=False):
                yield Path(folder)


def _delegate(group: Path) -> None:
    controllers = (group / "cgroup.controllers").read_text().split()
    for controller in controllers:
        with suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def _pause(deadline: float, complaint: str) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError(complaint)
    time.sleep(0.05)
