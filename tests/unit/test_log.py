"""What log records say beside their words."""

import ast
import asyncio
import logging
from pathlib import Path

import pytest

from podfleet import EventKind, FleetEvent, PodfleetError
from podfleet.fleet.events.callbacks import call
from podfleet.kube import Cluster, KubeClient, Reflector
from podfleet.log import about
from tests.unit.test_events import NOW

PACKAGE = Path(__file__).parents[2] / "src" / "podfleet"
METHODS = {"log", "debug", "info", "warning", "error", "exception", "critical"}


def test_a_field_is_named_as_none_of_a_record() -> None:
    record = logging.makeLogRecord({})
    every = about(fleet="arena", namespace="games", server="arena-0", session="match-42")
    assert len(every) == 4
    assert not every.keys() & vars(record).keys()


def test_every_record_of_a_fleet_has_fields() -> None:
    calls = 0
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "local") or path.is_relative_to(PACKAGE / "cli"):
            continue  # the embedded cluster knows nothing of fleets; a command tells of itself
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            logger = node.func.value
            if isinstance(logger, ast.Name) and logger.id == "_log" and node.func.attr in METHODS:
                calls += 1
                names = {keyword.arg for keyword in node.keywords}
                assert "extra" in names, f"{path}:{node.lineno}: no fields"
    assert calls


def test_a_callback_that_fails_names_the_session(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: FleetEvent) -> None:
        raise RuntimeError("no such channel")

    call(broken, FleetEvent(kind=EventKind.LOST, at=NOW, session="match-42"))
    (record,) = caplog.records
    assert vars(record)["podfleet_session"] == "match-42"
    assert "podfleet_server" not in vars(record)


def test_an_outage_is_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        tried = asyncio.Event()

        class Down(Reflector):
            tries = 0

            async def _list(self) -> None:
                self.tries += 1
                if self.tries == 4:
                    tried.set()
                raise PodfleetError("no answer")

        reflector = Down(KubeClient(Cluster()), "/pods", {}, about=about(fleet="arena"))
        reflector.start()
        await asyncio.wait_for(tried.wait(), 30)
        await reflector.stop()

    with caplog.at_level(logging.DEBUG, "podfleet"):
        asyncio.run(play())
    told = [one for one in caplog.records if one.name == "podfleet.kube.reflector"]
    assert [one.levelname for one in told[:3]] == ["WARNING", "DEBUG", "DEBUG"]
    assert {vars(one)["podfleet_fleet"] for one in told} == {"arena"}
