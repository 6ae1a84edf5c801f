"""Runs the command `podfleet` as a user does: its console script, beside a module with a fleet."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from attrs import frozen

from podfleet import Fleet, HeadlessDNS
from tests.cluster.fixtures import Backend
from tests.live.arena import GRACE, make

__all__ = ["SCRIPT", "Answer", "Desk", "fetch", "free_port", "started"]

SCRIPT = Path(sys.executable).with_name("podfleet")
GAME = """
from podfleet import *
fleet = Fleet(
    "arena",
    template=GameServerTemplate(
        image={image!r},
        ports=[Port("game", 7777, "TCPUDP")],
        pod={{"spec": {{"terminationGracePeriodSeconds": {grace}}}}},
    ),
    exposure=HeadlessDNS(),
    ready={ready!r},
)
"""


@frozen
class Answer:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@frozen
class Desk:
    """Where a user sits: a folder with ``game.py``, and a kubeconfig with the printed Role.

    Args:
        backend: The place in the cluster.
        folder: The folder.
    """

    backend: Backend
    folder: Path

    @classmethod
    def of(
        cls, backend: Backend, folder: Path, ready: int | None = None, *, grant: bool = True
    ) -> "Desk":
        """Make ``game.py``, whose ``fleet`` has the rights of the Role that it prints."""
        make(Fleet, backend, exposure=HeadlessDNS(), grant=grant)
        desk = cls(backend, folder)
        game = GAME.format(image=backend.cluster.image, grace=GRACE, ready=ready)
        desk.write("game.py", game)
        return desk

    def write(self, name: str, text: str) -> None:
        """Write a file of the folder."""
        (self.folder / name).write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        """What a user's shell has."""
        return {**os.environ, "KUBECONFIG": str(self.backend.kubeconfig), "COLUMNS": "100"}

    def podfleet(self, *arguments: str, **environment: str) -> Answer:
        """Run the command to its end."""
        done = subprocess.run(
            [SCRIPT, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run the command beside; it is killed at the end."""
        with started(*arguments, cwd=self.folder, env=self.environment) as process:
            yield process


@contextmanager
def started(*arguments: str, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """Start the command; it is killed at the end."""
    process = subprocess.Popen(
        [SCRIPT, *arguments],
        text=True,
        # Of a job in the background, as a test run may be, SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def fetch(port: int, path: str) -> tuple[int, str]:
    """Return the status and the body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found: int = listening.getsockname()[1]
    return found
