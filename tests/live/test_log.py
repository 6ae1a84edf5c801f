"""What a program that listens is told by podfleet's log, in fields beside the words."""

import logging
from typing import Any

import pytest

from podfleet import Fleet, HeadlessDNS
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make
from tests.live.faults import faulty
from tests.live.test_warm import until_ready


def fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key.startswith("podfleet_")}


def test_a_match_is_told_in_fields(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "podfleet")
    with make(Fleet, backend, exposure=HeadlessDNS(), ready=1) as fleet:
        until_ready(fleet, 1)
        server = fleet.allocate("match-1", timeout=30)
        server.release()

        def records(ending: str) -> list[logging.LogRecord]:
            return [one for one in caplog.records if one.getMessage().endswith(ending)]

        where = {"podfleet_fleet": "arena", "podfleet_namespace": backend.namespace}
        expected = {**where, "podfleet_server": server.name}
        for ending, more in (
            ("created, for: ready", {}),
            ("allocated", {"podfleet_session": "match-1"}),
            ("released", {"podfleet_session": "match-1"}),
        ):
            found = records(ending)[0]
            assert fields(found) == {**expected, **more}
            assert found.getMessage().startswith(f"{backend.namespace}/{server.name}: ")


def test_a_warning_says_which_fleet(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    with faulty(backend) as (api, through), make(Fleet, through, exposure=HeadlessDNS()) as fleet:
        fleet.status()
        with api.blackout():
            eventually(lambda: any(one.levelno == logging.WARNING for one in caplog.records))
        warned = next(one for one in caplog.records if one.levelno == logging.WARNING)
        assert fields(warned) == {
            "podfleet_fleet": "arena",
            "podfleet_namespace": backend.namespace,
        }
