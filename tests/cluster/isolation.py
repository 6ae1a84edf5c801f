"""A node's own view of the machine's files.

containerd, the CNI plugins and the kubelet write to paths that no setting changes, and the kubelet
sets sysctls for the whole machine. A real node may; two nodes on somebody's machine may not. So
each node has a mount namespace in which those places are its own. It ends with the node's last
process, and every mount that the node made ends with it.
"""

from pathlib import Path

from tests.cluster.places import STATE
from tests.cluster.process import Component

_FOLDERS = (
    Path("/run/containerd"),
    Path("/var/lib/cni"),
    Path("/var/lib/kubelet"),
    Path("/var/log/containers"),
)
_SYSCTLS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
)
_SCRIPT = """\
set -e
own=$1 folders=$2 sysctls=$3
for folder in $folders; do mount -t tmpfs podfleet "$folder"; done
for name in $sysctls; do
    copy=$own/$(echo "$name" | tr / .)
    cat "/proc/sys/$name" > "$copy"
    mount --bind "$copy" "/proc/sys/$name"
done
touch "$own/ready"
exec sleep infinity
"""


def start(node: str) -> Component:
    """Start the process that holds a node's mount namespace."""
    own = STATE / node / "isolation"
    own.mkdir(parents=True)
    for folder in _FOLDERS:
        folder.mkdir(parents=True, exist_ok=True)
    folders, sysctls = " ".join(map(str, _FOLDERS)), " ".join(_SYSCTLS)
    holder = Component(
        f"isolation-{node}",
        [
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", _SCRIPT, "isolation", own, folders, sysctls),
        ],
    )
    holder.wait_until((own / "ready").exists, "its mounts are made")
    return holder


def remove_mount_points() -> None:
    """Remove the folders that were made to mount on; what is used by others is not empty."""
    for folder in _FOLDERS:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
