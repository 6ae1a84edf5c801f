"""`podfleet demo`, as whoever has just installed it sees it."""

import os
import pty
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from podfleet import Endpoint, Protocol
from tests.live.arena import eventually, over_tcp, over_udp
from tests.live.command import SCRIPT, started


def line_with(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Return what matches in the first line in which it does."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"it ended without saying {pattern}: {process.communicate()}")


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_it_is_tried_from_another_terminal_and_leaves_nothing(
    tmp_path: Path, told: signal.Signals
) -> None:
    with started("demo", cwd=tmp_path) as process:
        kubeconfig = Path(line_with(process, r"export KUBECONFIG=(\S+)")[1])

        def podfleet(*words: str) -> str:
            done = subprocess.run(
                [SCRIPT, *words],
                cwd=tmp_path,
                env={**os.environ, "KUBECONFIG": str(kubeconfig)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
            return done.stdout

        began = line_with(process, r"match-1 begins: (demo-\w+) at (\S+):(\d+)$")
        name, host, port = began.groups()
        assert re.search(rf"^{name} +demo +allocated +match-1 ", podfleet("ls"), re.MULTILINE)
        endpoint = Endpoint(host, int(port), Protocol.TCPUDP, "game")
        assert over_udp(endpoint) == f"{name} hello"
        assert over_tcp(endpoint) == f"{name} hello"

        taken, where = podfleet("allocate", "podfleet.demo:fleet", "--session", "mine").split()
        host, _, port = where.rpartition(":")
        assert over_udp(Endpoint(host, int(port), Protocol.TCPUDP, "game")) == f"{taken} hello"
        assert podfleet("release", "podfleet.demo:fleet", "-s", "mine") == f"{taken} is released\n"
        assert line_with(process, r"match-1 is over: (\S+) is released$")[1] == name

        process.send_signal(told)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
    assert not kubeconfig.parent.exists()
    with pytest.raises(ConnectionRefusedError):
        over_tcp(endpoint)


def test_on_a_terminal_it_is_shown_live(tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150", "LINES": "40"}
    with started("demo", cwd=tmp_path, stdin=terminal, stdout=terminal, env=environment) as process:
        os.close(terminal)
        os.set_blocking(screen, False)
        seen = bytearray()

        def shows(text: bytes) -> bool:
            with suppress(BlockingIOError):
                seen.extend(os.read(screen, 1 << 16))
            return text in seen

        eventually(lambda: shows(b"export KUBECONFIG="))
        eventually(lambda: shows(b"match-1"))
        eventually(lambda: shows(b":2700"))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
    os.close(screen)


def test_it_ends_by_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [SCRIPT, "demo", "--seconds", "0.5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "export KUBECONFIG=" in done.stdout
