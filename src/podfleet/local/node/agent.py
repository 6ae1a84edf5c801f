"""The process that starts an embedded cluster's servers, and ends them when its owner is gone.

It runs by itself (``python -I -S agent.py FOLDER``) and imports the standard library only. Its
owner tells it what to do on standard input, a JSON object a line; it answers on standard output.
When that input ends, however the owner went, every process it started is killed and the folder
with the cluster's files is removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans of our processes become ours
_ENDING, _LOOK = 3.0, 0.005  # seconds
_STACK = 128 * 1024  # bytes of each waiting thread


class Agent:
    """Starts processes, and tells when they end."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._answering = threading.Lock()

    def serve(self) -> None:
        """Do as told until the owner is gone."""
        for line in sys.stdin.buffer:
            order: dict[str, Any] = json.loads(line)
            if order["do"] == "start":
                self._start(order)
            else:
                self._signal(order["id"], order["do"])

    def end(self) -> None:
        """Kill everything, and what becomes ours when its parents are gone."""
        until = time.monotonic() + _ENDING
        while time.monotonic() < until:
            processes, orphans = list(self._processes.values()), _children()
            if not processes and not orphans:
                return
            for process in processes:
                _kill(process.pid)
            for orphan in orphans:
                _kill(orphan)
                with contextlib.suppress(OSError):
                    os.kill(orphan, signal.SIGKILL)  # it may be of another's group
            time.sleep(_LOOK)

    def _start(self, order: dict[str, Any]) -> None:
        try:
            with open(order["log"], "ab") as log:
                process = subprocess.Popen(  # noqa: S603 (it is what this is for)
                    order["argv"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=order["cwd"],
                    env=order["env"],
                    start_new_session=True,
                )
        except OSError as error:
            self._answer(order["id"], error=os.strerror(error.errno or 0).lower())
            return
        self._processes[order["id"]] = process
        self._answer(order["id"], pid=process.pid)
        threading.Thread(target=self._wait, args=(order["id"], process), daemon=True).start()

    def _wait(self, name: str, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        _kill(process.pid)  # what it started ends with it
        self._processes.pop(name, None)
        self._answer(name, code=128 - code if code < 0 else code)

    def _signal(self, name: str, word: str) -> None:
        process = self._processes.get(name)
        if process is None:
            return
        if word == "kill":
            _kill(process.pid)
        else:
            process.terminate()

    def _answer(self, name: str, **told: Any) -> None:
        line = json.dumps({"id": name, **told}).encode() + b"\n"
        try:
            with self._answering:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
        except OSError:  # nobody listens any more
            return


def _kill(pid: int) -> None:
    """Kill a process and its group."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)  # Windows ends a process with it at once
    except OSError:
        return


def _children() -> list[int]:
    """Return the processes that are ours, by adoption too, on Linux."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    state, parent, *_ = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if parent == str(os.getpid()) and state != "Z":
                found.append(int(name))
    return found


def main() -> None:
    """Serve, and clean up."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    threading.stack_size(_STACK)
    agent = Agent()
    try:
        agent.serve()
    finally:
        agent.end()
        shutil.rmtree(sys.argv[1], ignore_errors=True)
        os._exit(0)


if __name__ == "__main__":
    main()
