"""Install the Debian packages that the nodes and the tests need, if they are missing."""

import os
import shutil
import subprocess
from pathlib import Path

PACKAGES = {
    "/usr/sbin/runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/sbin/iptables": "iptables",
    "/usr/sbin/nft": "nftables",
    "/usr/sbin/conntrack": "conntrack",
    "/usr/sbin/ethtool": "ethtool",
    "/usr/sbin/ip": "iproute2",
    "/usr/bin/openssl": "openssl",
    "/usr/bin/nsenter": "util-linux",
    "/usr/bin/prometheus": "prometheus",  # tests/live/test_dashboard.py
}


def missing() -> list[str]:
    """Return the packages of which a file is not there."""
    # Debian's merged /usr lets a path appear in either place.
    return [
        package
        for file, package in PACKAGES.items()
        if not Path(file).exists() and not Path(file.removeprefix("/usr")).exists()
    ]


def install() -> None:
    """Install what is missing.

    Raises:
        RuntimeError: There is no apt-get, or it failed.
    """
    packages = missing()
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise RuntimeError(f"install these first, there is no apt-get: {', '.join(packages)}")
    print(f"Installing {' '.join(packages)} ...", flush=True)
    _apt_get("update")
    _apt_get("install", "--yes", "--no-install-recommends", *packages)


def _apt_get(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-q", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"apt-get {arguments[0]} failed:\n{done.stdout}{done.stderr}")
