"""The commands that look and act once: preflight, ls, describe, allocate, release."""

import json
import os
import pty
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from podfleet import Fleet, HeadlessDNS
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, template
from tests.live.command import SCRIPT, Desk
from tests.live.test_run import ended

ROW = ("NAME", "FLEET", "STATE", "SESSION", "NODE", "AGE", "ENDPOINT")


def shown(desk: Desk, *arguments: str) -> Any:
    """Return what a command says as JSON."""
    answer = desk.podfleet(*arguments, "-o", "json")
    assert (answer.code, answer.err) == (0, "")
    return json.loads(answer.out)


def test_preflight_says_what_to_mend(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path, grant=False)
    missing = desk.podfleet("preflight", "game:fleet")
    assert (missing.code, missing.err) == (1, "")
    first, second, third, *_ = missing.out.splitlines()
    assert first.startswith("fleet arena: ")
    assert first.endswith(" to mend")
    assert second.startswith("- no right to get pods in namespace ")
    assert third == "  to do: apply what fleet.manifests() returns"
    told = desk.podfleet("preflight", "game:fleet", "-o", "json")
    assert told.code == 1
    assert {one["fleet"] for one in json.loads(told.out)} == {"arena"}

    Desk.of(backend, tmp_path)
    eventually(lambda: desk.podfleet("preflight", "game:fleet").code == 0)
    assert desk.podfleet("preflight", "game:fleet").out == "fleet arena: nothing is in its way\n"
    assert shown(desk, "preflight", "game:fleet") == []


def test_a_match_by_hand(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    nothing = desk.podfleet("ls")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "no servers\n")

    answer = desk.podfleet("allocate", "game:fleet", "--session", "match-1")
    assert (answer.code, answer.err) == (0, "")
    name, endpoint = answer.out.split()
    assert endpoint == f"{name}.arena.{backend.namespace}.svc.cluster.local:7777"
    again = shown(desk, "allocate", "game:fleet", "-s", "match-1")
    assert again["name"] == name
    assert [f"{one['host']}:{one['port']}" for one in again["endpoints"]] == [endpoint]

    head, row = desk.podfleet("ls").out.splitlines()
    assert tuple(head.split()) == ROW
    assert row.split()[:4] == [name, "arena", "allocated", "match-1"]
    assert row.split()[-1] == "-"
    assert desk.podfleet("ls", "game:fleet").out.split()[-1] == endpoint
    (listed,) = shown(desk, "ls", "arena")
    assert (listed["session"], listed["state"]) == ("match-1", "allocated")
    assert shown(desk, "ls", "duel") == []

    said = desk.podfleet("describe", name).out.splitlines()
    assert said[0].startswith(f"{name} of fleet arena is allocated, on node ")
    assert said[2].startswith("It was allocated for session match-1, ")
    assert len(said) == 3
    assert shown(desk, "describe", name)["diagnosis"] is None

    done = desk.podfleet("release", "game:fleet", "--session", "match-1")
    assert (done.code, done.out, done.err) == (0, f"{name} is released\n", "")
    eventually(lambda: not backend.pods())
    for missing in (["--session", "match-1"], [name]):
        answer = desk.podfleet("release", "game:fleet", *missing)
        assert (answer.code, answer.out) == (3, "")
        assert len(answer.err.splitlines()) == 1


def test_a_server_is_released_by_name_and_kept(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    name = shown(desk, "allocate", "game:fleet")["name"]
    done = desk.podfleet("release", "game:fleet", name, "--recycle")
    assert (done.code, done.out) == (0, f"{name} is released, and kept\n")
    assert [one["state"] for one in shown(desk, "ls")] == ["starting"]
    both = desk.podfleet("release", "game:fleet", name, "--session", "match-1")
    neither = desk.podfleet("release", "game:fleet")
    assert both.code == neither.code == 2
    assert "name a server, or a --session: one of them" in both.err


def test_a_group_is_allocated_and_released(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    desk.write("more.py", "from game import *\ngroup = FleetGroup('all', [fleet])\n")
    name = shown(desk, "allocate", "more:group", "-s", "match-1")["name"]
    assert [one["name"] for one in shown(desk, "ls", "more:group")] == [name]
    assert desk.podfleet("release", "more:group", "-s", "match-1").out == f"{name} is released\n"


def test_a_command_keeps_no_servers_and_rolls_nothing_out(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path, ready=3)
    desk.podfleet("allocate", "game:fleet", "-s", "match-1")
    assert desk.podfleet("release", "game:fleet", "-s", "match-1").code == 0
    leases = backend.objects("coordination.k8s.io/v1", "leases")
    assert "arena-tender" not in [one["metadata"]["name"] for one in leases]
    eventually(lambda: not backend.pods())


def test_describe_says_why_a_server_is_not_ready(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    broken = template(backend, image="No/Thing")
    fleet = make(Fleet, backend, template=broken, exposure=HeadlessDNS())
    backend.cluster.create(fleet.own().spec.pod(backend.namespace, "arena-broken", ()))

    def why() -> bool:
        return "InvalidImageName: " in desk.podfleet("describe", "arena-broken").out

    eventually(why)
    said = desk.podfleet("describe", "arena-broken").out
    assert "arena-broken of fleet arena is starting, on node " in said
    assert "It is not ready:" in said
    assert shown(desk, "describe", "arena-broken")["diagnosis"]["verdict"] == "failed"


def test_describe_tells_who_shares_a_server(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    shared = template(backend, slots=4)
    with make(Fleet, backend, template=shared, exposure=HeadlessDNS()) as fleet:
        fleet.allocate("match-1", slots=3, timeout=60)
        name = fleet.allocate("match-2", timeout=60).name
        said = desk.podfleet("describe", name).out.splitlines()
        assert said[2:] == [
            "Session match-1 has 3 of its 4 slots.",
            "Session match-2 has 1 of its 4 slots.",
        ]


def test_what_is_not_there_and_what_may_not_be_seen(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    missing = desk.podfleet("describe", "arena-none")
    assert (missing.code, missing.out) == (3, "")
    assert missing.err == (
        f"podfleet: there is no server {backend.namespace}/arena-none: podfleet ls lists those "
        "there are\n"
    )
    hidden = desk.podfleet("ls", "-n", "default")
    assert (hidden.code, hidden.out) == (6, "")
    wrong = desk.podfleet("ls", "Arena")
    assert wrong.code == 2
    assert "Traceback" not in missing.err + hidden.err + wrong.err


def test_top_in_a_pipe_prints_once(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    assert desk.podfleet("allocate", "game:fleet", "-s", "match-1").code == 0
    answer = desk.podfleet("top", "arena")
    assert (answer.code, answer.err) == (0, "")
    head, _, states, arena, _, nodes, node, _, servers, server = answer.out.splitlines()
    assert head.startswith(f"namespace {backend.namespace}, heard ")
    counts = dict(zip(states.split(), arena.split(), strict=True))
    assert (counts["FLEET"], counts["ALLOCATED"], counts["READY"]) == ("arena", "1", "0")
    assert counts["ALLOC/MIN"] == "1"
    assert (nodes.split(), node.split()[1:]) == (["NODE", "SERVERS", "ALLOCATED"], ["1", "1"])
    assert tuple(servers.split()) == ROW[:-1]
    assert server.split()[2:4] == ["allocated", "match-1"]


def test_top_follows_on_a_terminal_until_ctrl_c(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [SCRIPT, "top"],
        cwd=desk.folder,
        env={**desk.environment, "TERM": "xterm", "COLUMNS": "150", "LINES": "30"},
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(terminal)
    os.set_blocking(screen, False)
    seen = bytearray()

    def shows(text: bytes) -> bool:
        with suppress(BlockingIOError):
            seen.extend(os.read(screen, 1 << 16))
        return text in seen

    try:
        eventually(lambda: shows(b"ALLOC/MIN"))
        with make(Fleet, backend, exposure=HeadlessDNS()) as fleet:
            fleet.allocate("match-7", timeout=60)
        eventually(lambda: shows(b"match-7"))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, b"")
    finally:
        process.kill()
        process.communicate()
        os.close(screen)


BROKEN = """
from game import *
shape = fleet.own().spec.template

def of(**change):
    changed = GameServerTemplate(**{"image": shape.image, "ports": shape.ports, **change})
    return Fleet("arena", template=changed, exposure=HeadlessDNS())

failing = of(image="No/Thing")
waiting = of(node_selector={"nowhere": "true"})
"""


def test_a_server_that_fails_and_no_room_have_codes_and_ctrl_c_leaves_nothing(
    backend: Backend, tmp_path: Path
) -> None:
    desk = Desk.of(backend, tmp_path)
    desk.write("broken.py", BROKEN)
    failed = desk.podfleet("allocate", "broken:failing")
    assert (failed.code, failed.out) == (5, "")
    assert "InvalidImageName" in failed.err
    full = desk.podfleet("allocate", "broken:waiting", "--timeout", "3")
    assert (full.code, full.out) == (4, "")
    assert "Unschedulable" in full.err
    with desk.running("allocate", "broken:waiting") as process:
        eventually(lambda: len(backend.pods()) == 1)
        process.send_signal(signal.SIGINT)
        code, out, err = ended(process)
    assert (code, out) == (130, "")
    assert "Traceback" not in failed.err + full.err + err
    eventually(lambda: not backend.pods())


@pytest.mark.parametrize("session", ["match\x1b[2J", "a" * 100])
def test_a_session_cannot_write_on_the_terminal(
    backend: Backend, tmp_path: Path, session: str
) -> None:
    desk = Desk.of(backend, tmp_path)
    with make(Fleet, backend, exposure=HeadlessDNS()) as fleet:
        fleet.allocate(session, timeout=60)
        printed = desk.podfleet("ls").out
        assert "\x1b" not in printed
        assert session[:5] in printed
        assert max(map(len, printed.splitlines())) < 200
        assert shown(desk, "ls")[0]["session"] == session
