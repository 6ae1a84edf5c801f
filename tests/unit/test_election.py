"""Clocks that differ: leader election goes by this replica's own, a limit by the node's as well."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podfleet.fleet.claiming.claim import Claim
from podfleet.fleet.tending.observed import Observed, holder_of, lease_spec

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
LASTS = 10.0


def lease(spec: dict[str, Any] | None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"uid": "1", "resourceVersion": "1", **metadata}, "spec": spec}


@given(
    skew=st.timedeltas(timedelta(days=-4000), timedelta(days=4000)),
    jumps=st.lists(st.timedeltas(timedelta(days=-1), timedelta(days=1)), min_size=1, max_size=20),
)
def test_a_leader_that_renews_keeps_its_lease_whatever_its_clock_says(
    skew: timedelta, jumps: list[timedelta]
) -> None:
    observed, now, wall = Observed(), 100.0, NOW + skew
    held = lease(None)
    for jump in jumps:
        wall += jump + timedelta(microseconds=1)
        renewed = lease_spec(held, "leader", wall, 10)
        changed = renewed != held["spec"]
        held = lease(renewed)
        observed.see(held, now)
        if not changed:  # a clock that went back to the very same microsecond
            return
        now += LASTS / 2
        assert not observed.is_over(now, LASTS)
    assert not observed.is_over(now + LASTS / 2, LASTS)
    assert observed.is_over(now + LASTS / 2 + 0.1, LASTS)


@pytest.mark.parametrize(
    "spec",
    [
        None,
        {},
        {"holderIdentity": "gone"},
        {"holderIdentity": "gone", "leaseDurationSeconds": 2**31 - 1},
        {"holderIdentity": "gone", "renewTime": "1970-01-01T00:00:00.000000Z"},
        {"holderIdentity": "gone", "renewTime": "9999-12-31T23:59:59.999999Z"},
    ],
)
def test_a_lease_that_nobody_renews_is_over_after_its_time_whatever_stands_on_it(
    spec: dict[str, Any] | None,
) -> None:
    observed = Observed()
    assert not observed.is_over(1e9, LASTS)  # never seen
    observed.see(lease(spec), 100.0)
    observed.see(lease(spec, resourceVersion="2", annotations={"a": "b"}), 109.0)  # a note only
    assert not observed.is_over(109.9, LASTS)
    assert observed.is_over(110.1, LASTS)
    observed.see(lease(spec, uid="2"), 110.2)  # made again, by another
    assert not observed.is_over(112.0, LASTS)


def test_the_lease_tells_people_since_when_it_is_held_and_how_often_it_changed_hands() -> None:
    first = lease_spec(None, "a", NOW, 10)
    assert first == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 10,
        "acquireTime": "2026-11-27T12:00:00.000000Z",
        "renewTime": "2026-11-27T12:00:00.000000Z",
        "leaseTransitions": 0,
    }
    later = NOW + timedelta(seconds=5)
    renewed = lease_spec(lease(first), "a", later, 10)
    assert renewed == {**first, "renewTime": "2026-11-27T12:00:05.000000Z"}
    taken = lease_spec(lease(renewed), "b", later, 10)
    assert (taken["leaseTransitions"], taken["acquireTime"]) == (1, taken["renewTime"])
    returned = lease_spec(lease(taken), "", later, 10)
    assert returned["leaseTransitions"] == 1
    assert "holderIdentity" not in returned
    assert holder_of(lease(returned)) == ""
    again = lease_spec(lease({**returned, "leaseTransitions": 2**31 - 1}), "b", later, 10)
    assert again["leaseTransitions"] == 2**31 - 1  # an int32 in the API


@pytest.mark.parametrize(
    ("skew", "wanted"),
    [
        (0.0, 600 + 60),  # seconds: it has run for ten minutes
        (3600.0, 4200 + 60),
        (-300.0, 300 + 60),
        (-3600.0, 100 + 60),  # less than nothing, by this clock: the node's own word counts
    ],
)
def test_a_limit_counts_from_the_start_of_the_pod_also_where_clocks_differ(
    skew: float, wanted: int
) -> None:
    began = NOW - timedelta(seconds=600)
    ready = (began + timedelta(seconds=100)).isoformat()
    pod = {
        "metadata": {"name": "arena-1", "uid": "1", "labels": {}, "annotations": {}},
        "spec": {"containers": []},
        "status": {
            "startTime": began.isoformat(),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ready}],
        },
    }
    patch = Claim(limit=60).patch(pod, NOW + timedelta(seconds=skew))
    assert [one["value"] for one in patch if one["path"] == "/spec/activeDeadlineSeconds"] == [
        wanted
    ]
