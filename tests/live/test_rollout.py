"""A changed template reaches the free servers; matches that run are left alone."""

import logging
import time
from collections import Counter
from typing import Any

import pytest

from podfleet import (
    ConfigurationError,
    EventKind,
    Fleet,
    FleetEvent,
    HeadlessDNS,
    Rollout,
    ServerState,
    StatefulSet,
)
from podfleet.fleet.tending import upkeep
from podfleet.model.names import REVISION, STATE
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, template
from tests.live.test_warm import until_ready

READY = ServerState.READY


def version(backend: Backend, number: int, **settings: Any) -> Fleet:
    shape = template(backend, env={"VERSION": str(number)}, **settings.pop("shape", {}))
    return make(Fleet, backend, **{"template": shape, "ready": 3, **settings})


def free(backend: Backend) -> Counter[str]:
    """Return how many free servers there are of each revision."""
    shown = [
        pod["metadata"] for pod in backend.pods() if "deletionTimestamp" not in pod["metadata"]
    ]
    return Counter(one["labels"][REVISION] for one in shown if one["labels"][STATE] == "unclaimed")


def test_free_servers_are_replaced_and_matches_go_on(backend: Backend) -> None:
    with version(backend, 1) as first:
        until_ready(first, 3)
        match = first.allocate("match-1", timeout=60)
        until_ready(first, 3)
    second = version(backend, 2)
    told: list[FleetEvent] = []
    second.on_event(told.append)
    with second:
        eventually(lambda: free(backend) == {second.revision: 3}, 60)
        until_ready(second, 3)
        eventually(lambda: [one for one in told if one.kind is EventKind.ROLLED])
        assert second.revision in next(one for one in told if one.kind is EventKind.ROLLED).reason
        status = second.rollout_status()
        assert status.complete
        assert (status.updated_ready, status.outdated, status.outdated_allocated) == (3, 0, 1)
        assert second.find("match-1") == match
        match.release()
        eventually(lambda: second.rollout_status().outdated_allocated == 0, 60)


def test_of_two_templates_the_newer_wins_once(
    backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_LOOK", 1.0)  # seconds
    first, second = version(backend, 1), version(backend, 2)
    with caplog.at_level(logging.WARNING, "podfleet.fleet.tending"), first:
        until_ready(first, 3)
        with second:
            eventually(lambda: free(backend) == {second.revision: 3}, 60)
            assert not first.rollout_status().is_present
            first.stop()
            first.start()  # as an old replica that crashed
            names = {pod["metadata"]["name"] for pod in backend.pods()}
            old = first.allocate(timeout=60)  # it serves its callers still
            assert old.labels[REVISION] == first.revision
            old.release()
            until = time.monotonic() + 5
            while time.monotonic() < until:
                assert free(backend)[second.revision] == 3
                time.sleep(0.2)
            assert {pod["metadata"]["name"] for pod in backend.pods()} - names <= {old.name}

            first.roll_out()  # back
            eventually(lambda: free(backend) == {first.revision: 3}, 90)
            eventually(lambda: first.rollout_status().complete)
            eventually(lambda: not second.rollout_status().is_present)
    said = [one.getMessage() for one in caplog.records if "newer template" in one.getMessage()]
    assert any(first.revision in message for message in said)


def test_a_roll_out_waits_while_it_is_paused(backend: Backend) -> None:
    with version(backend, 1) as first:
        until_ready(first, 3)
        first.pause_rollout()
    with version(backend, 2) as second:
        eventually(lambda: second.status().servers[READY] == 3)
        status = second.rollout_status()
        assert (status.paused, status.complete) == (True, False)
        assert status.outdated == 3
        second.allocate(timeout=60)  # which starts one: there is none of its template
        assert free(backend) == {first.revision: 3}
        second.resume_rollout()
        eventually(lambda: free(backend) == {second.revision: 3}, 60)
        assert not second.rollout_status().paused


def test_a_roll_out_stops_if_new_servers_fail_and_the_next_goes_on(backend: Backend) -> None:
    with version(backend, 1) as first:
        until_ready(first, 3)
    with version(backend, 2, shape={"image": "No/Thing"}) as broken:
        eventually(lambda: broken.rollout_status().failing)
        eventually(lambda: free(backend)[first.revision] == 3)
        assert broken.status().servers[READY] == 3
    assert free(backend)[first.revision] == 3
    with version(backend, 3, rollout=Rollout(surge=0, unavailable=1)) as third:
        eventually(lambda: free(backend) == {third.revision: 3}, 60)


def test_who_keeps_no_servers_has_no_say(backend: Backend) -> None:
    with version(backend, 1) as first:
        until_ready(first, 3)
        with version(backend, 2, ready=None) as other:
            other.allocate(timeout=60)
            assert free(backend) == {first.revision: 3}
            assert first.rollout_status().is_present


def test_what_has_no_roll_out_says_so(backend: Backend) -> None:
    with pytest.raises(ConfigurationError, match=r"Fleet\.rollout: '25%': must be"):
        make(Fleet, backend, grant=False, rollout="25%")
    settings: dict[str, Any] = {"exposure": HeadlessDNS(), "workload": StatefulSet()}
    with (
        make(Fleet, backend, **settings) as fleet,
        pytest.raises(ConfigurationError, match="a StatefulSet is rolled out by Kubernetes"),
    ):
        fleet.rollout_status()
