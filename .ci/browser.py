"""Install Debian's Chromium, unless there is one: the tests of examples/arcade play in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def main() -> None:
    if shutil.which("chromium"):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print("There is no chromium in PATH, and it is installed by root on Debian only.")
        return  # the tests that need it say so
    print("Installing chromium ...", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (
        ["update"],
        ["install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"],
    ):
        done = subprocess.run(
            ["apt-get", "-q", *arguments], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"apt-get {arguments[0]} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
