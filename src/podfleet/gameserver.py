"""For the game server's own process: what it was allocated for, and "ready again". No sidecar.

Copy this file beside your server, or import it: it needs nothing but Python 3.9 and its standard
library. A server in another language does the same: it reads ``/etc/podfleet/annotations``, which
the kubelet keeps up to date (about a second after a change), and answers its readiness probe.

::

    ready = Readiness(8080)              # answers the Pod's readiness probe (httpGet, port 8080)
    while True:
        ready.say(True)
        match = wait_allocated()         # its session and its metadata
        play(match)
        wait_recycled(match)             # the backend called server.release(recycle=True)
        ready.say(False)                 # returns when the kubelet has seen it

A server that is not recycled ends its match by ending: ``sys.exit(0)``.
"""

from __future__ import annotations

import ast
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["FOLDER", "Match", "Readiness", "current", "wait_allocated", "wait_recycled"]

FOLDER = "/etc/podfleet"
"""Where every Pod of a fleet has its own labels and annotations, as files."""

_PREFIX = "podfleet.dev/"
_METADATA = "metadata.podfleet.dev/"
_PAUSE = 0.1  # seconds between two looks


@dataclass(frozen=True)
class Match:
    """What a server was allocated for.

    Attributes:
        id: Tells this allocation from every other.
        session: Its session, or ``None``.
        metadata: What ``allocate(metadata=...)`` was given.
    """

    id: str
    session: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def current(folder: str | None = None) -> Match | None:
    """Return what this server is allocated for now; ``None`` if for nothing.

    Args:
        folder: Where the files are, if not in ``FOLDER``.
    """
    try:
        text = _file(folder).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    notes = _parse(text)
    if _PREFIX + "allocated-at" not in notes:
        return None
    metadata = {
        key[len(_METADATA) :]: value for key, value in notes.items() if key.startswith(_METADATA)
    }
    claim = notes.get(_PREFIX + "claim", "")
    return Match(claim, notes.get(_PREFIX + "session"), metadata)


def wait_allocated(timeout: float | None = None, folder: str | None = None) -> Match:
    """Return once this server is allocated, with what for.

    Args:
        timeout: Seconds; for ever by default.
        folder: Where the files are, if not in ``FOLDER``.

    Raises:
        TimeoutError: It was not, within the time.
    """
    deadline = _deadline(timeout)
    while True:
        match = current(folder)
        if match is not None:
            return match
        _rest(deadline, "not allocated")


def wait_recycled(match: Match, timeout: float | None = None, folder: str | None = None) -> None:
    """Return once that allocation is over: the backend keeps this server for another match.

    Args:
        match: What `wait_allocated` returned.
        timeout: Seconds; for ever by default.
        folder: Where the files are, if not in ``FOLDER``.

    Raises:
        TimeoutError: It goes on still.
    """
    deadline = _deadline(timeout)
    while current(folder) == match:
        _rest(deadline, "still allocated")


class Readiness:
    """Answers the Pod's readiness probe: 200 when ready, else 503.

    Args:
        port: The probe's (``httpGet``; any path).
        failures: The probe's ``failureThreshold``: after so many refusals the kubelet calls the
            server not ready.
        address: Where to listen; by default on every address.
    """

    def __init__(self, port: int, failures: int = 3, address: str = "") -> None:
        self._failures = failures
        self._refused = 0
        self._changed = threading.Condition()
        self._ready = False
        readiness = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ready = readiness._asked()
                self.send_response(200 if ready else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((address, port), Answer)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def say(self, ready: bool, timeout: float = 60.0) -> None:
        """Say whether this server is ready for a match.

        "Not ready" returns when the probe has been refused often enough for the kubelet to call
        the Pod not ready: only then does "ready" mean "ready again".

        Args:
            ready: Whether it is.
            timeout: Seconds to wait for the probe.

        Raises:
            TimeoutError: Nobody asked: the Pod has no readiness probe on this port.
        """
        with self._changed:
            self._ready, self._refused = ready, 0
            if not ready and not self._changed.wait_for(self._is_known, timeout):
                raise TimeoutError(f"no readiness probe within {timeout:g} s")

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def _is_known(self) -> bool:
        return self._refused >= self._failures

    def _asked(self) -> bool:
        with self._changed:
            if not self._ready:
                self._refused += 1
                self._changed.notify_all()
            return self._ready


def _file(folder: str | None) -> Path:
    # On podfleet's embedded cluster a process has no mounts of its own: they are below a folder.
    root = os.environ.get("PODFLEET_ROOT", "")
    return Path(folder or root + FOLDER, "annotations")


def _parse(text: str) -> dict[str, str]:
    r"""Return the annotations of a downward API file: a line each, ``key="value"``, escaped.

    Example:
        >>> _parse('map="dust"\nmotd="say \\"hi\\""')
        {'map': 'dust', 'motd': 'say "hi"'}
    """
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key] = str(ast.literal_eval(value))
    return found


def _deadline(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout


def _rest(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"{what} within the time")
    time.sleep(_PAUSE)
