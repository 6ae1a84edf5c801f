"""Remove every trace of a cluster, also of one whose owner was killed half way."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from tests.cluster import cgroups, network
from tests.cluster.places import STATE
from tests.cluster.process import run

_SHARED_FOLDERS = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")


def remove_traces() -> None:
    """End processes, then remove cgroups, mounts, namespaces, links, routes and files."""
    cgroups.remove()
    for mount in _mounts():
        run("umount", "--lazy", mount)
    network.remove()
    for results in (Path("/var/lib/cni/results"), Path("/var/lib/cni/cache/results")):
        for file in results.glob("podfleet-*"):
            file.unlink()
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and str(link.readlink()).startswith(str(STATE)):
            link.unlink()
    socket = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
    if str(socket) not in Path("/proc/net/unix").read_text():  # no kubelet of the machine's own
        socket.unlink(missing_ok=True)
    for folder in _SHARED_FOLDERS:
        # Made by our containerd and kubelet, whatever their settings. What is in use by
        # another container runtime of this machine is not empty, and stays.
        for inner in sorted(Path(folder).rglob("*/"), reverse=True):
            with suppress(OSError):
                inner.rmdir()
        with suppress(OSError):
            Path(folder).rmdir()
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
