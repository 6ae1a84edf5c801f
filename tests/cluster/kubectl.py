"""Run kubectl."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def kubectl(
    program: Sequence[str], kubeconfig: Path, *arguments: str, stdin: str | None = None
) -> str:
    """Run kubectl and return what it printed.

    Raises:
        RuntimeError: It failed; with what it said.
    """
    done = subprocess.run(
        [*program, *arguments],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
    return done.stdout
