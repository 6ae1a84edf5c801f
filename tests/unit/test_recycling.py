"""Which changes of a Pod say that its recycled server is ready again."""

import copy
from collections.abc import Callable

import pytest

from podfleet.model.names import CONTAINER, RECYCLED
from podfleet.model.recycling import came_back, noted, snapshot
from tests.unit.pods import Json, condition, container_status, ready_pod, terminated

EARLIER, LATER = "2026-11-23T04:00:00Z", "2026-11-23T04:30:00Z"


def a_server(**other: Json) -> Json:
    """Return the Pod of a server beside another container and a native sidecar."""
    pod = ready_pod()
    running: Json = {"running": {}}
    logs = container_status(running, name="logs", restartCount=0) | {"ready": True}
    proxy = container_status(running, name="proxy", restartCount=0) | {"ready": True}
    pod["metadata"]["annotations"] = {CONTAINER: "game"}
    pod["spec"]["containers"].insert(0, {"name": "logs", **other})
    pod["spec"]["initContainers"] = [{"name": "proxy", "restartPolicy": "Always"}]
    pod["status"]["containerStatuses"][0] |= {"containerID": "c://1", "restartCount": 0}
    pod["status"]["containerStatuses"].insert(0, logs)
    pod["status"]["initContainerStatuses"] = [proxy]
    pod["status"]["conditions"] = [
        condition("ContainersReady", lastTransitionTime=EARLIER),
        condition("Ready", lastTransitionTime=EARLIER),
    ]
    return pod


def recycled(pod: Json, *changes: Callable[[Json], None]) -> Json:
    """Return a Pod that was recycled, and changed since."""
    pod["metadata"]["annotations"] |= {RECYCLED: snapshot(pod)}
    after = copy.deepcopy(pod)
    for change in changes:
        change(after)
    return after


def again(*kinds: str) -> Callable[[Json], None]:
    """Return what has conditions become False, and True again."""

    def change(pod: Json) -> None:
        for one in pod["status"]["conditions"]:
            if one["type"] in kinds:
                one["lastTransitionTime"] = LATER

    return change


def restarted(name: str) -> Callable[[Json], None]:
    def change(pod: Json) -> None:
        status = pod["status"]
        for one in status["containerStatuses"] + status["initContainerStatuses"]:
            if one["name"] == name:
                one |= {"restartCount": 1, "containerID": "c://2"}

    return change


def ended(pod: Json) -> None:
    pod["status"]["containerStatuses"][0]["state"] = terminated(0)


PROBED = {"readinessProbe": {"httpGet": {"port": 80}}}
BOTH = again("Ready", "ContainersReady")


@pytest.mark.parametrize(
    ("other", "changes", "counts"),
    [
        ({}, [], False),
        ({}, [BOTH], True),
        ({}, [restarted("game")], True),
        ({}, [restarted("game"), restarted("logs"), BOTH], True),
        (PROBED, [restarted("game")], True),
        # A node fell silent, or a readiness gate closed.
        ({}, [again("Ready")], False),
        ({}, [restarted("logs"), BOTH], False),
        ({}, [restarted("proxy"), BOTH], False),
        ({}, [ended], False),
        # Which of the two was not ready is not known.
        (PROBED, [BOTH], False),
    ],
)
def test_only_the_servers_own_container_says_ready_again(
    other: Json, changes: list[Callable[[Json], None]], counts: bool
) -> None:
    assert came_back(recycled(a_server(**other), *changes)) is counts


def test_a_server_that_was_not_ready_when_it_was_recycled_is_ready_later() -> None:
    pod = a_server()
    pod["status"]["conditions"][0]["status"] = "False"
    pod["metadata"]["annotations"] |= {RECYCLED: snapshot(pod)}
    assert not came_back(pod)
    pod["status"]["conditions"][0] |= {"status": "True", "lastTransitionTime": LATER}
    assert came_back(pod)


@pytest.mark.parametrize(
    ("written", "counts"), [(None, True), ("no JSON", True), ('["2026-11-23T04:00:00Z", 0]', False)]
)
def test_what_another_wrote_is_not_relied_on(written: str | None, counts: bool) -> None:
    pod = a_server()
    if written is not None:
        pod["metadata"]["annotations"] |= {RECYCLED: written}
    assert came_back(pod) is counts


def unready(name: str) -> Callable[[Json], None]:
    def change(pod: Json) -> None:
        for one in pod["status"]["containerStatuses"]:
            if one["name"] == name:
                one["ready"] = False

    return change


@pytest.mark.parametrize(
    ("other", "changes", "needed"),
    [
        (PROBED, [], False),
        (PROBED, [unready("logs")], False),
        (PROBED, [unready("game")], True),
        ({}, [unready("game")], False),  # the condition's date tells
        (PROBED, [restarted("game"), unready("game")], False),
    ],
)
def test_a_note_tells_what_no_date_does(
    other: Json, changes: list[Callable[[Json], None]], needed: bool
) -> None:
    pod = recycled(a_server(**other), *changes)
    note = noted(pod)
    assert (note is not None) is needed
    if note is not None:
        pod["metadata"]["annotations"][RECYCLED] = note
        assert came_back(pod)
        assert noted(pod) is None
