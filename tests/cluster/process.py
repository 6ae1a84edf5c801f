"""Start a component, with its log and in our cgroup; wait for it; stop it."""

import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.cluster import cgroups
from tests.cluster.places import LOGS

_STOP_TIMEOUT = 10.0  # seconds until SIGKILL


class Component:
    """A running program of the cluster.

    Args:
        name: Its name, and its log file's.
        command: What to run.
        group: The cgroup, below ours.
        enter: A command that enters namespaces and runs what follows, if not the machine's own.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[object],
        group: str = "components",
        enter: Sequence[object] = (),
    ) -> None:
        self.name = name
        self.log = LOGS / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        joins = "".join(
            f"echo $$ > {shlex.quote(str(folder / 'cgroup.procs'))} && "
            for folder in cgroups.create(group)
        )
        words = [str(word) for word in (*enter, *command)]
        self._command = ["sh", "-c", f'{joins}exec "$@"', name, *words]
        self.start()

    def start(self) -> None:
        """Start it: at first, or anew after it was stopped."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
        """Wait for a condition that this component brings about.

        Raises:
            RuntimeError: It ended, or the time was up; with the end of its log.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended before {what}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: not {what} in {timeout:g} s:\n{self.tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, by its id; at once if it does not end by itself."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End it by SIGKILL, as a machine that crashes."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have it stand still for as long as the block lasts.

        If this process is killed meanwhile, the cluster that it owns is removed by the next run.
        """
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def tail(self, lines: int = 20) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def run(*command: object, check: bool = True) -> str:
    """Run a short command to its end and return what it printed.

    Raises:
        RuntimeError: It failed; with what it said.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{shlex.join(words)}:\n{done.stdout}{done.stderr}")
    return done.stdout
