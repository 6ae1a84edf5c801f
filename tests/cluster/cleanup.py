"""Remove every trace of a cluster, also of one whose owner was killed half way."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from tests.cluster import cgroups, isolation, network
from tests.cluster.places import STATE
from tests.cluster.process import run


def remove_traces() -> None:
    """End processes, then remove cgroups, mounts, namespaces, links, routes and files."""
    cgroups.remove()
    isolation.remove_mount_points()
    network.remove()
    for mount in _mounts():  # a node's are its own, but nothing may be deleted through a mount
        run("umount", "--lazy", mount)
    shutil.rmtree(STATE, ignore_errors=True)
    if STATE.exists():
        raise RuntimeError(f"{STATE} cannot be removed: is something mounted in it?")


def keep_logs(logs: Path, target: Path, keep: int = 5) -> Path | None:
    """Copy the components' logs to where they outlive the cluster; the oldest ones go."""
    if not logs.exists():
        return None
    copy = target / time.strftime("%Y%m%d-%H%M%S")
    with suppress(FileExistsError):
        shutil.copytree(logs, copy)
    for old in sorted(target.iterdir())[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return copy


def _mounts() -> list[str]:
    """Return the mounts below the state folder, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in reversed(points) if Path(point).is_relative_to(STATE)]
