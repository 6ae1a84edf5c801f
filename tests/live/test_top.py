"""`podfleet top` on terminals of two widths, with names as long as a cloud's.

The pictures, dark and light, are kept in build/screenshots, to be looked at.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from podfleet import Fleet, GameServerTemplate, HeadlessDNS, Port, ServerState
from podfleet.local import LocalCluster, Node
from podfleet.testing.cluster import eventually
from podfleet.testing.gameserver import IMAGE, gameserver
from tests.browser.chromium import SCHEMES, chromium, faults, keep
from tests.live.command import SCRIPT

NODES = [f"gke-games-eu-default-pool-3f5a91c2-{end}" for end in ("x7k2", "q9dm", "h4wz")]
SESSIONS = ("red-fox-42", "0d9f8a3c-7a51-4c8e-b6a2-5f1d3c9e7b44", "ranked-2v2-" + "12345" * 10)
NEVER_READY = {
    "name": "server",
    "readinessProbe": {"httpGet": {"port": 8080, "path": "/healthz"}, "periodSeconds": 1},
}
COUNTS = {
    "arena": {"READY": "5", "RESERVED": "1", "ALLOCATED": "3", "ENDED": "1", "ALLOC/MIN": "4"},
    "ranked-duel": {"STARTING": "3"},
}
PAGE = """
<style>
  :root {{ color-scheme: dark light; }}
  body {{ margin: 0; padding: 12px; display: inline-block; }}
  body {{ background: light-dark(#fff, #16161d); color: light-dark(#1c1c1c, #ddd); }}
  pre {{ margin: 0; width: {0}ch; font: 14px/1.3 "DejaVu Sans Mono", monospace; }}
</style>
<pre>{1}</pre>
"""


@pytest.fixture(scope="module")
def kubeconfig() -> Iterator[Path]:
    """Give a cluster with servers in all states; they stay in them, for nobody tends them."""
    nodes = [Node(name=name) for name in NODES]
    with LocalCluster({IMAGE: gameserver}, nodes=nodes) as local:

        def fleet(name: str, ready: int, **template: object) -> Fleet:
            made = GameServerTemplate(image=IMAGE, ports=[Port("game", 7777)], **template)  # type: ignore[arg-type]
            where = {"exposure": HeadlessDNS(), "cluster": local.cluster}
            return Fleet(name, template=made, ready=ready, **where)  # type: ignore[arg-type]

        with fleet("arena", 5) as arena:
            for session in SESSIONS:
                arena.allocate(session, timeout=60)
            ended = arena.allocate("over", timeout=60)
            arena.reserve(600, timeout=60)
            eventually(lambda: arena.status().servers[ServerState.READY] == 5)
        never = {"env": {"NEVER_READY": "1"}, "pod": {"spec": {"containers": [NEVER_READY]}}}
        with fleet("ranked-duel", 3, **never) as duel:
            eventually(lambda: duel.status().servers[ServerState.STARTING] == 3)
        local.kill(ended.name)
        yield local.kubeconfig


def top(kubeconfig: Path, columns: int, lines: int) -> list[str]:
    """Run it on a terminal of that size, and return the lines that it shows."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "TERM": "xterm"}
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [SCRIPT, "top"],
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(terminal)
    said = b""
    try:
        while not (frames := re.findall(rb"\x1b\[H([^\x1b]+)(?=\x1b)", said)):
            said += os.read(screen, 1 << 16)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(screen)
    shown: list[str] = frames[0].decode().split("\r\n")
    return shown


def cells(block: str) -> list[dict[str, str]]:
    """Return the rows of a block by the names of its columns."""
    head, *rows = block.splitlines()
    starts = [found.start() for found in re.finditer(r"\S+", head)]
    places = list(zip(starts, [*starts[1:], None], strict=True))
    return [
        {head[start:end].strip(): row[start:end].strip() for start, end in places}
        for row in rows
        if not row.startswith("... and ")
    ]


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40)])
def test_all_columns_fit_and_nothing_is_cut_that_has_room(
    kubeconfig: Path, columns: int, lines: int
) -> None:
    shown = top(kubeconfig, columns, lines)
    assert [cell_len(line) for line in shown] == [columns] * lines
    text = "\n".join(line.rstrip() for line in shown).rstrip()
    head, *blocks = text.split("\n\n")
    assert re.fullmatch(r"namespace default, heard \d+ s ago", head)
    fleets, nodes, servers = map(cells, blocks)

    zero = dict.fromkeys((*(state.value.upper() for state in ServerState), "ALLOC/MIN"), "0")
    assert fleets == [{"FLEET": name, **zero, **counts} for name, counts in COUNTS.items()]
    assert [row["NODE"] for row in nodes] == sorted(NODES)
    assert sum(int(row["SERVERS"]) for row in nodes) == 13
    assert list(servers[0]) == ["NAME", "FLEET", "STATE", "SESSION", "NODE", "AGE"]
    more = re.search(r"\.\.\. and (\d+) more$", text)
    assert len(servers) + int(more[1] if more else 0) == 13
    assert {row["FLEET"] for row in servers} == set(COUNTS)
    assert all(re.fullmatch(r"(arena|ranked-duel)-\w{10}", row["NAME"]) for row in servers)
    assert all(row["NODE"][-4:] in ("x7k2", "q9dm", "h4wz") for row in servers)
    for block in blocks:
        if "…" in block:
            assert max(map(cell_len, block.splitlines())) > columns - 6  # an age is as short as 3s

    with chromium() as browser:
        for scheme in SCHEMES:
            page = browser.new_page(color_scheme=scheme)
            page.set_content(PAGE.format(columns, html.escape("\n".join(shown))))
            wide, high = page.evaluate("[document.body.offsetWidth, document.body.offsetHeight]")
            page.set_viewport_size({"width": wide, "height": high})
            picture = keep(page, f"top-{columns}-{scheme}")
            assert faults(page, apart="nothing") == [], f"see {picture}"
