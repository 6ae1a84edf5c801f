"""The demo of `make demo`, run by the tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from podfleet.testing.cluster import eventually

__all__ = ["ENVIRONMENT", "Demo"]

EXAMPLES = Path(__file__).parents[2] / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(EXAMPLES), "PYTHONUNBUFFERED": "1"}
STARTS = 60.0  # seconds to a page that can be played
ENDS = 20.0


class Demo:
    """`python -m arcade`, on a port of its own."""

    def __init__(self) -> None:
        started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arcade", "--port", "0"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C" in line:
                break
        found = re.search(r"http://\S+", self.said)
        assert found, self.said
        self.url = found[0]
        place = re.search(r"KUBECONFIG=(\S+)", self.said)
        assert place, self.said
        self.folder = str(Path(place[1]).parent)
        try:
            eventually(lambda: self.fleet()["servers"], STARTS)
        except BaseException:
            self.kill()
            raise
        self.seconds = time.monotonic() - started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            try:
                self.interrupt()
            finally:
                self.kill()

    def interrupt(self) -> int:
        """Press Ctrl-C, and return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)  # as a terminal does
        rest, _ = self.process.communicate(timeout=ENDS)
        self.said += rest
        return self.process.returncode

    def kill(self) -> None:
        """Leave nothing behind, whatever happened."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process.wait()

    def processes(self) -> list[int]:
        """Return the demo's processes, the game servers too: all have heard of its folder."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                known = environ.read_bytes()
            except OSError:
                continue  # it has just ended
            if self.folder.encode() in known or environ.parent.name == str(self.process.pid):
                found.append(int(environ.parent.name))
        return [pid for pid in found if pid != os.getpid()]

    def fleet(self) -> Any:
        """Return what the fleet page is told now."""
        with urllib.request.urlopen(f"{self.url}/api/fleet", timeout=STARTS) as stream:
            for line in stream:
                if line.startswith(b"event: fleet"):
                    return json.loads(next(stream).removeprefix(b"data: "))
        raise AssertionError("the stream ended")

    def count(self, state: str) -> int:
        """Return how many servers are in a state."""
        return sum(server["state"] == state for server in self.fleet()["servers"])

    def get(self, path: str, method: str = "GET") -> Any:
        """Ask the backend."""
        asked = urllib.request.Request(f"{self.url}{path}", method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)

    def terminal(
        self, session: str, name: str, seconds: float, hue: int = 130
    ) -> subprocess.Popen[str]:
        """Have the terminal's player join a match."""
        words = [session, "--url", self.url, "--name", name, "--hue", str(hue)]
        words += ["--seconds", str(seconds)]
        return subprocess.Popen(
            [sys.executable, "-m", "arcade.udp_client", *words],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
