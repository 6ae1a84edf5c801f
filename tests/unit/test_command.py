"""The command where it needs no cluster: mistakes, help, and what is installed."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import ConsoleDimensions

from podfleet import ConfigurationError, FleetStatus, GameServer, PodfleetError, ServerState, errors
from podfleet.cli.describe import words
from podfleet.cli.exits import exit_code
from podfleet.cli.health import illness
from podfleet.cli.load import load
from podfleet.cli.servers import as_json, table
from podfleet.cli.top import Recent, view

GOOD = """
from podfleet import *
shape = GameServerTemplate(image="arena:1", ports=[Port("game", 7777)])
fleet = Fleet("arena", template=shape, exposure=HeadlessDNS())
"""
SCRIPT = Path(sys.executable).with_name("podfleet")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder of one's own, as a user does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "text", "said"),
    [
        ("game", "", "must be module:name, as game:fleet for `fleet` in game.py"),
        ("nothing:fleet", "", "there is no module 'nothing' in {folder}, and none is installed"),
        ("mine:fleet", GOOD + "one = fleet\ndel fleet", "mine has no 'fleet'; it has one"),
        ("mine:fleet", "fleet = 3", "is of type int; it must be a Fleet, an AsyncFleet, a group"),
        (
            "mine:fleet",
            "\nfleet = Fleet()",
            "NameError: name 'Fleet' is not defined ({file}, l",
        ),
        ("mine:fleet", "import nix", "ModuleNotFoundError: No module named 'nix' ({file}, line 1)"),
        ("mine:fleet", "fleet = (", "SyntaxError: '(' was never closed (mine.py, line 1)"),
        (
            "mine:fleet",
            "def fleet(): 1 / 0",
            "ZeroDivisionError: division by zero ({file}, line 1)",
        ),
        ("mine:fleet", "from podfleet import Port\nPort('game', 0)", "Port.number: 0: "),
    ],
)
def test_a_mistake_is_told_in_a_line(folder: Path, reference: str, text: str, said: str) -> None:
    (folder / "mine.py").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(reference)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"MODULE:FLEET: {reference!r}: ")
    assert said.format(folder=folder, file=folder / "mine.py") in line


@pytest.mark.parametrize("command", [[str(SCRIPT)], [sys.executable, "-m", "podfleet"]])
def test_a_mistake_ends_the_command_with_2_and_no_traceback(
    folder: Path, command: list[str]
) -> None:
    done = subprocess.run([*command, "run", "game:fleet"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "podfleet: MODULE:FLEET: 'game:fleet': there is no module 'game' in "
        f"{folder}, and none is installed\n"
    )


def without(package: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as where a package is not installed."""
    script = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = {['podfleet', *words]};"
        "from podfleet.__main__ import main; main()"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


def test_without_the_extra_it_says_how_to_install_it() -> None:
    done = without("typer", "run", "game:fleet")
    said = "podfleet: the command needs typer: pip install 'podfleet[cli]'\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_without_prometheus_the_port_says_how_to_install_it(folder: Path) -> None:
    (folder / "mine.py").write_text(GOOD)
    done = without("prometheus_client", "run", "mine:fleet", "--metrics-port", "9102")
    assert done.returncode == 2
    assert done.stderr == (
        "podfleet: --metrics-port: 9102: podfleet.metrics needs prometheus_client: "
        "pip install 'podfleet[metrics]'\n"
    )


def test_without_matplotlib_the_plot_says_how_to_install_it_before_anything_is_made(
    folder: Path,
) -> None:
    (folder / "mine.py").write_text(GOOD)
    done = without("matplotlib", "bench", "mine:fleet", "--plot", "bench.svg")
    assert done.returncode == 2
    assert done.stderr == (
        "podfleet: --plot: 'bench.svg': needs matplotlib: pip install 'podfleet[plots]'\n"
    )


def test_a_shell_completes_the_commands() -> None:
    asked = {"_PODFLEET_COMPLETE": "complete_bash", "COMP_WORDS": "podfleet re", "COMP_CWORD": "1"}
    done = subprocess.run(
        [SCRIPT], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["release"]


def test_top_fits_the_terminal_and_remembers_a_minute() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    servers = [
        GameServer(
            name=f"arena-{number}",
            namespace="games",
            uid=f"uid-{number}",
            state=ServerState.ALLOCATED,
            node="node-a",
            session=f"match-{number}",
            endpoints=(),
            created=now - timedelta(hours=1),
            allocated=now - timedelta(seconds=number),
            labels={"podfleet.dev/fleet": "arena"},
            annotations={},
        )
        for number in range(100)
    ]
    recent = Recent()
    shown = view(servers, recent, now, ConsoleDimensions(80, 30)).splitlines()
    assert len(shown) == 30 - 2
    assert shown[1].split()[-1] == "60"
    assert shown[-1] == "... and 80 more"
    later = view([], recent, now + timedelta(seconds=30)).splitlines()
    assert later[1].split() == ["arena", *"000000", "30"]
    assert view([], recent, now + timedelta(minutes=2)).splitlines()[0].startswith("FLEET")


def test_top_has_room_for_servers_however_many_nodes_and_fleets_there_are() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    servers = [
        GameServer(
            name=f"arena-{number}",
            namespace="games",
            uid=f"uid-{number}",
            state=ServerState.READY,
            node=f"node-{number:03}",
            session=None,
            endpoints=(),
            created=now - timedelta(hours=1),
            allocated=None,
            labels={"podfleet.dev/fleet": f"fleet-{number:03}"},
            annotations={},
        )
        for number in range(100)
    ]
    shown = view(servers, Recent(), now, ConsoleDimensions(80, 30)).splitlines()
    assert len(shown) == 30 - 2
    assert [line for line in shown if line.startswith("... and ")] == [
        "... and 93 more",
        "... and 93 more",
        "... and 94 more",
    ]
    assert len(view(servers, Recent(), now).splitlines()) == 3 * 101 + 2


def test_a_server_in_doubt_is_shown_as_such() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    server = GameServer(
        name="arena-1",
        namespace="games",
        uid="uid",
        state=ServerState.ALLOCATED,
        node="node-a",
        session="match-1",
        endpoints=(),
        created=now - timedelta(hours=1),
        allocated=now - timedelta(minutes=10),
        labels={"podfleet.dev/fleet": "arena"},
        annotations={},
        restarts=2,
        unreachable_since=now - timedelta(minutes=3),
    )
    assert "  allocated?  " in table([server], now)
    assert "  allocated?  " in view([server], Recent(), now)
    told = words(server, None, now).splitlines()
    assert "Its process was restarted 2 times." in told
    assert "Its node has not reported for 3m: it may be gone, or run on unseen." in told
    shown = as_json(server)
    assert (shown["restarts"], shown["unreachable_since"]) == (2, "2026-11-24T11:57:00+00:00")


def test_the_library_does_not_import_the_command() -> None:
    script = "import podfleet, sys; assert not {'typer', 'rich', 'podfleet.cli'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def kinds(root: type[PodfleetError] = PodfleetError) -> list[type[PodfleetError]]:
    """Return every class of error."""
    return [root, *(kind for below in root.__subclasses__() for kind in kinds(below))]


def test_the_docs_say_the_exit_code_of_every_error() -> None:
    page = (Path(__file__).parents[2] / "docs" / "command.md").read_text()
    told = {
        name: int(code)
        for code, _, text in (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in page.splitlines()
            if line.startswith("| ") and line[2].isdigit()
        )
        for name in text.replace("`", "").replace(",", "").split()
        if hasattr(errors, name)
    }
    for kind in kinds():
        code = exit_code(kind.__new__(kind))
        nearest = next(base.__name__ for base in kind.__mro__ if base.__name__ in told)
        assert told[nearest] == code, kind.__name__


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ([], "fleet arena: its servers have not been read yet"),
        ([(False, 0.0)], "fleet arena: its servers have not been read yet"),
        ([(True, 0.0), (False, 0.0)], "fleet arena: its servers have not been read yet"),
        ([(True, 121.2)], "fleet arena: the API server has not been heard for 121 s"),
        ([(True, 61.0)], None),
    ],
)
def test_what_is_well(statuses: list[tuple[bool, float]], said: str | None) -> None:
    seen = [FleetStatus(servers={}, synced=s, age=age, waiting=0) for s, age in statuses]
    assert illness("arena", seen) == said
