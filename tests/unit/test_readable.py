"""Objects that make no sense: each is told apart, and none stops a store."""

import copy
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podfleet.kube.store import Change, Store
from podfleet.model.readable import unreadable, unreadable_pod
from podfleet.model.server import server_from_pod
from podfleet.model.slots import sessions_of

GOOD: dict[str, Any] = {
    "metadata": {
        "name": "arena-1",
        "namespace": "games",
        "uid": "u1",
        "resourceVersion": "5",
        "creationTimestamp": "2026-11-23T04:05:06Z",
        "labels": {"podfleet.dev/fleet": "arena", "podfleet.dev/state": "unclaimed"},
        "annotations": {
            "podfleet.dev/slots": "4",
            "podfleet.dev/sessions": '{"red": 1}',
            "podfleet.dev/turn": "3",
        },
    },
    "spec": {"nodeName": "a", "containers": [{"name": "game", "ports": [{"hostPort": 7}]}]},
    "status": {
        "phase": "Running",
        "startTime": "2026-11-23T04:05:06Z",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": None}],
        "containerStatuses": [{"name": "game", "restartCount": 0}],
    },
}

PATHS = [
    ("metadata",),
    *(("metadata", key) for key in GOOD["metadata"]),
    *(("metadata", "annotations", key) for key in GOOD["metadata"]["annotations"]),
    ("metadata", "annotations", "podfleet.dev/given"),
    ("metadata", "annotations", "podfleet.dev/recycled"),
    ("metadata", "annotations", "podfleet.dev/reserved-until"),
    ("metadata", "annotations", "podfleet.dev/allocated-at"),
    ("metadata", "deletionTimestamp"),
    ("spec",),
    *(("spec", key) for key in GOOD["spec"]),
    ("spec", "containers", 0, "ports", 0, "hostPort"),
    ("status",),
    *(("status", key) for key in GOOD["status"]),
    ("status", "conditions", 0, "lastTransitionTime"),
    ("status", "containerStatuses", 0, "restartCount"),
]

NUMBERS: list[object] = [None, 0, -1, True, 1.5]
TEXTS: list[object] = ["", "x", "null", "[" * 20_000, "9" * 5000]
JSONS: list[object] = ["{", "[]", "{}", '{"a": "x"}', '{"a": 0}', '{"a": true}']
NESTED: list[object] = [[], [None], ["x"], [[]], {}, {"x": 1}, {"": None}]

odd = st.sampled_from([*NUMBERS, *TEXTS, *JSONS, *NESTED])


def spoilt(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    pod = copy.deepcopy(GOOD)
    where: Any = pod
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    return pod


def test_a_good_pod_can_be_read() -> None:
    assert unreadable_pod(GOOD) is None
    assert unreadable(GOOD) is None


@given(st.sampled_from(PATHS), odd)
def test_what_is_readable_can_be_read_by_all(path: tuple[Any, ...], value: object) -> None:
    pod = spoilt(path, value)
    if unreadable_pod(pod) is None:
        server = server_from_pod(pod, (), ready=True)
        assert server.slots > 0
        assert all(count > 0 for count in server.sessions.values())


@given(st.sampled_from(PATHS), odd)
def test_a_store_takes_whatever_comes(path: tuple[Any, ...], value: object) -> None:
    store, seen = Store(sessions_of, unreadable=unreadable_pod), list[str]()
    store.listen(lambda change: seen.append(change.name))
    store.observe(GOOD)
    pod = spoilt(path, value)
    if path != ("metadata", "resourceVersion") and isinstance(pod["metadata"], dict):
        pod["metadata"]["resourceVersion"] = "6"
    is_readable = store.observe(pod)
    repaired = copy.deepcopy(GOOD)
    repaired["metadata"]["resourceVersion"] = "7"
    assert store.observe(repaired)
    shown = store.get("arena-1")
    assert shown is not None
    assert not shown["metadata"].get("deletionTimestamp")
    assert is_readable is (unreadable_pod(pod) is None)


def test_one_that_cannot_be_read_any_more_is_nobodys_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "podfleet")
    store = Store(sessions_of, unreadable=unreadable_pod)
    store.observe(GOOD)
    for number in (6, 7, 7):
        bad = spoilt(("metadata", "annotations", "podfleet.dev/sessions"), "{")
        bad["metadata"]["resourceVersion"] = str(number)
        assert not store.observe(bad)
    shown = store.get("arena-1")
    assert shown is not None
    assert shown["metadata"]["deletionTimestamp"]
    (record,) = caplog.records
    assert record.getMessage() == (
        "arena-1: skipped, for it cannot be read: "
        "its annotation podfleet.dev/sessions is not JSON: fix or delete it"
    )
    store.forget(bad)
    assert len(store) == 0


def test_a_listener_that_fails_on_one_object_keeps_none_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, heard = Store(), list[str]()

    def fail(change: Change) -> None:
        raise RuntimeError(change.name)

    store.listen(fail)
    store.listen(lambda change: heard.append(change.name))
    store.observe(GOOD)
    with store.subscribe("arena-1") as changed:
        store.forget(GOOD)
        assert changed.is_set()
    assert heard == ["arena-1", "arena-1"]
    assert "a change could not be followed" in caplog.text
