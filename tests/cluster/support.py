"""Can the test cluster run here? If not: why, in words."""

import os
import platform
import shutil


def reason_against() -> str | None:
    """Return why the cluster cannot run on this machine, or ``None`` if it can."""
    if platform.system() != "Linux":
        return f"its nodes are network namespaces, which {platform.system()} does not have"
    if os.geteuid() != 0:
        return "it makes network namespaces and cgroups, which needs root"
    if shutil.which("go") is None:
        return "its programs are built from Go modules, and there is no `go` in PATH"
    return None
