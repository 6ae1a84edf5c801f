"""`podfleet run`: a process of the command's own tends fleets."""

import re
import signal
import socket
from pathlib import Path

import pytest

from podfleet import Fleet
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually
from tests.live.command import Desk, fetch, free_port
from tests.live.test_run import ended, is_tended, lease, make
from tests.live.test_warm import until_ready


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_tends_until_it_is_told_to_end(
    backend: Backend, tmp_path: Path, told: signal.Signals
) -> None:
    desk = Desk.of(backend, tmp_path, ready=2)
    with desk.running("run", "game:fleet") as process:
        eventually(lambda: len(backend.pods()) == 2 and is_tended(backend))
        process.send_signal(told)
        code, out, err = ended(process)
    assert (code, out) == (0, "")
    first, *between, last = err.splitlines()
    assert len([one for one in between if one.endswith("created, for: ready")]) == 2
    assert first.endswith(" INFO fleet arena: tended from here")
    assert last.endswith("told to end: the next one can tend at once; the servers keep running")
    assert "holderIdentity" not in lease(backend)
    assert len(backend.pods()) == 2


def test_when_one_is_killed_the_other_takes_over(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path, ready=2)
    with make(Fleet, backend) as fleet:
        with desk.running("run", "game:fleet"):
            until_ready(fleet, 2)
            taken = fleet.allocate("match-1", timeout=60)
            until_ready(fleet, 2)
            first = lease(backend)["holderIdentity"]
        with desk.running("run", "game:fleet"):
            fleet.allocate("match-2", timeout=60)
            until_ready(fleet, 2)
            assert lease(backend)["holderIdentity"] != first
        assert fleet.find("match-1") == taken


def test_it_serves_metrics_and_its_health(backend: Backend, tmp_path: Path) -> None:
    port = free_port()
    desk = Desk.of(backend, tmp_path, ready=1)
    with desk.running("run", "game:fleet", "--metrics-port", str(port)):
        eventually(lambda: fetch(port, "/healthz") == (200, "ok\n"))
        ready = 'podfleet_servers{fleet="arena",state="ready"} 1.0'
        eventually(lambda: ready in fetch(port, "/metrics")[1])
        assert fetch(port, "/")[0] == 404
        taken = desk.podfleet("run", "game:fleet", "--metrics-port", str(port))
        assert (taken.code, taken.out) == (2, "")
        assert f"podfleet: --metrics-port: {port}: cannot be used: " in taken.err


def test_it_is_not_well_before_it_knows_the_servers(backend: Backend, tmp_path: Path) -> None:
    port = free_port()
    desk = Desk.of(backend, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = backend.kubeconfig.read_text()
        where = f'"server": "http://127.0.0.1:{silent.getsockname()[1]}"'
        backend.kubeconfig.write_text(re.sub(r'"server": "[^"]*"', where, config))
        with desk.running("run", "game:fleet", "--metrics-port", str(port)) as process:
            unread = "fleet arena: its servers have not been read yet\n"
            assert eventually(lambda: fetch(port, "/healthz")) == (503, unread)
            process.send_signal(signal.SIGTERM)
            assert ended(process)[0] == 0


def test_groups_functions_and_several_at_once(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path, ready=1)
    make(Fleet, backend, name="duel")
    desk.write(
        "more.py",
        "import game\n"
        "from podfleet import *\n"
        "def everything():\n"
        "    shape = game.fleet._settings['template']\n"
        "    duel = Fleet('duel', template=shape, exposure=game.fleet.exposure, ready=1)\n"
        "    return FleetGroup('all', [game.fleet, duel])\n",
    )
    with desk.running("run", "game:fleet", "more:everything") as process:
        eventually(lambda: len(backend.pods()) == 2, 60)
        process.send_signal(signal.SIGTERM)
        _, _, err = ended(process)
    assert err.count("tended from here") == 2


def test_missing_rights_and_a_cluster_that_is_not_there_have_codes_of_their_own(
    backend: Backend, tmp_path: Path
) -> None:
    desk = Desk.of(backend, tmp_path)
    elsewhere = desk.podfleet("run", "game:fleet", "-n", "default")
    assert elsewhere.code == 6
    assert "apply what fleet.manifests() returns" in elsewhere.err.splitlines()[-1]
    missing = desk.podfleet("run", "game:fleet", "--kubeconfig", str(tmp_path / "missing"))
    assert missing.code == 2
    assert "does not exist: name a kubeconfig file" in missing.err
    assert "Traceback" not in elsewhere.err + missing.err
