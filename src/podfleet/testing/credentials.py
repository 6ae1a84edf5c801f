"""`CredentialPlugin`: the credential plugin of a kubeconfig, which can be made to hang or fail."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

__all__ = ["CredentialPlugin"]

_API = "client.authentication.k8s.io/v1"
_SCRIPT = """#!/bin/sh
echo $$ >> '{folder}/processes'
if [ -e '{folder}/hang' ]; then exec sleep 1000; fi
if [ -e '{folder}/fail' ]; then cat '{folder}/fail' >&2; exit 1; fi
cat '{folder}/credential'
"""


class CredentialPlugin:
    """A command that a kubeconfig names under ``exec``; needs a POSIX shell.

    Args:
        folder: An empty folder for its files.

    Example:
        >>> def test_a_plugin_hangs(place, tmp_path):
        ...     plugin = CredentialPlugin(tmp_path)
        ...     with plugin.kubeconfig(place.kubeconfig) as kubeconfig:
        ...         ...  # a fleet on Cluster(kubeconfig=kubeconfig)
        ...         plugin.hang()
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def kubeconfig(self, original: Path, *, seconds: float | None = None) -> Iterator[Path]:
        """Give a kubeconfig whose user's token comes from this command.

        Args:
            original: A kubeconfig (in JSON, which is YAML) whose user has a token: the command
                prints that one.
            seconds: How long the command says that the token holds; by default for good.
        """
        config = json.loads(original.read_text())
        user = config["users"][0]["user"]
        self.issue(user["token"], seconds=seconds)
        script = self._folder / "plugin"
        script.write_text(_SCRIPT.format(folder=self._folder))
        script.chmod(0o700)
        command = {"apiVersion": _API, "command": str(script), "interactiveMode": "Never"}
        config["users"][0]["user"] = {"exec": command}
        path = self._folder / "kubeconfig"
        path.write_text(json.dumps(config))
        try:
            yield path
        finally:
            path.unlink()

    def issue(self, token: str, *, seconds: float | None = None) -> None:
        """Have it print this token from now on.

        Args:
            token: The token.
            seconds: How long it holds, by what it says; by default for good.
        """
        status = {"token": token}
        if seconds is not None:
            until = datetime.now(UTC) + timedelta(seconds=seconds)
            status["expirationTimestamp"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        credential = {"apiVersion": _API, "kind": "ExecCredential", "status": status}
        path = self._folder / "credential"
        path.touch(mode=0o600)
        path.write_text(json.dumps(credential))

    def hang(self) -> None:
        """Have it print nothing, and not end."""
        (self._folder / "hang").touch()

    def fail(self, words: str) -> None:
        """Have it end with code 1.

        Args:
            words: What it says on stderr.
        """
        (self._folder / "fail").write_text(f"{words}\n")

    def recover(self) -> None:
        """Have it print its token again."""
        for name in ("hang", "fail"):
            (self._folder / name).unlink(missing_ok=True)

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of its processes, in the order in which they were started."""
        path = self._folder / "processes"
        return tuple(map(int, path.read_text().split())) if path.exists() else ()

    @property
    def running(self) -> tuple[int, ...]:
        """The ids of those that have not ended."""
        return tuple(one for one in self.processes if _is_running(one))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
