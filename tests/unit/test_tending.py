"""What the tender decides: how fast, how many too many, and what is of no use."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from podfleet.fleet.pool.free import FreeServers
from podfleet.fleet.pool.line import Line
from podfleet.fleet.pool.orphans import Orphans
from podfleet.fleet.sighting import Sighting
from podfleet.fleet.tally import Removal
from podfleet.fleet.tending.meter import Meter
from podfleet.fleet.tending.pace import Pace
from podfleet.fleet.tending.reaper import Reaper
from podfleet.fleet.tending.reason import Reason
from podfleet.fleet.tending.surplus import Surplus
from podfleet.kube import Store
from podfleet.model.names import PATIENCE, RECYCLED, REVISION, STATE, TURN
from tests.soak.measure import tables


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def server(
    name: str = "arena-1",
    state: str = "unclaimed",
    *,
    ready: bool = True,
    phase: str = "Running",
    uid: str = "uid-1",
    turn: int = 0,
    waiting: dict[str, Any] | None = None,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase}
    since = "2026-11-24T10:00:20Z"
    status["conditions"] = [
        {"type": "Ready", "status": str(ready), "lastTransitionTime": since},
        {"type": "PodScheduled", "status": "True"},
    ]
    if waiting is not None:
        status["containerStatuses"] = [{"name": "server", "state": {"waiting": waiting}}]
    return {
        "metadata": {
            "name": name,
            "namespace": "games",
            "uid": uid,
            "resourceVersion": str(turn + 1),
            "creationTimestamp": "2026-11-24T10:00:00Z",
            "labels": {STATE: state, REVISION: "r"},
            "annotations": {TURN: str(turn), **(notes or {})},
        },
        "spec": {"nodeName": "node-a", "containers": [{"name": "server"}]},
        "status": status,
    }


def seen(pod: dict[str, Any]) -> Sighting:
    return Sighting(pod["metadata"]["name"], pod)


def reaper() -> tuple[Reaper, Orphans, Clock]:
    clock = Clock()
    orphans = Orphans("r", clock)
    return Reaper(orphans, clock), orphans, clock


def due_after(pods: list[dict[str, Any]], patience: float) -> None:
    """Check that after these sightings a server is due when so much time has passed, not before."""
    reaping, _, clock = reaper()
    for pod in pods:
        reaping.follow(seen(pod))
    clock.now += patience - 0.5
    assert list(reaping.due()) == []
    clock.now += 0.5
    assert [name for name, _ in reaping.due()] == ["arena-1"]
    reaping.follow(Sighting("arena-1", None))
    assert list(reaping.due()) == []


def test_an_ended_server_can_be_looked_at_for_a_while() -> None:
    for state in ("allocated", "unclaimed", "recycling"):
        for phase in ("Succeeded", "Failed"):
            due_after([server(state=state, phase=phase, ready=False)], 30)


def test_a_server_that_was_ready_may_be_unready_for_a_blip() -> None:
    due_after([server(), server(ready=False)], 60)


def test_a_pull_that_fails_is_given_time_and_a_name_that_is_none_is_not() -> None:
    pulling = {"reason": "ImagePullBackOff", "message": "not found"}
    due_after([server(ready=False, phase="Pending", waiting=pulling)], 60)
    reaping, _, _ = reaper()
    wrong = {"reason": "InvalidImageName", "message": "invalid reference format"}
    reaping.follow(seen(server(ready=False, phase="Pending", waiting=wrong)))
    ((name, why),) = reaping.due()
    assert name == "arena-1"
    assert why.kind is Removal.FAILED
    assert str(why).startswith("InvalidImageName: ")


def test_a_recycled_server_has_time_to_come_back() -> None:
    marks = '["2026-11-24T10:00:20Z", 0]'
    due_after([server(state="recycling", ready=False, notes={RECYCLED: marks})], 300)


def test_what_is_well_or_somebodys_is_left_alone() -> None:
    reaping, _, clock = reaper()
    starting = server(name="c", ready=False, phase="Pending", uid="c")
    crashed = {"reason": "InvalidImageName", "message": "its starter tells its caller"}
    own = server(name="d", ready=False, phase="Pending", uid="d", waiting=crashed)
    own["metadata"]["annotations"] = {PATIENCE: "60"}
    for pod in (
        server(name="a", uid="a"),
        server(name="b", uid="b", state="allocated", ready=False),
        starting,
        own,
        server(name="e", uid="e", state="reserved", ready=False),
    ):
        reaping.follow(seen(pod))
    clock.now += 10_000
    assert list(reaping.due()) == []


def test_a_server_that_gets_well_or_is_replaced_begins_anew() -> None:
    reaping, _, clock = reaper()
    reaping.follow(seen(server()))
    reaping.follow(seen(server(ready=False)))
    clock.now += 59
    reaping.follow(seen(server()))
    reaping.follow(seen(server(ready=False)))
    clock.now += 59
    assert list(reaping.due()) == []
    reaping.follow(seen(server(ready=False, uid="uid-2")))  # a namesake
    clock.now += 59
    assert list(reaping.due()) == []
    clock.now += 1
    assert len(list(reaping.due())) == 1


def test_orphans_are_due_when_their_starter_cannot_want_them() -> None:
    reaping, orphans, clock = reaper()
    pod = server(turn=0, notes={PATIENCE: "60"})
    for follow in (orphans.follow, reaping.follow):
        follow(seen(pod))
    assert list(reaping.due()) == []
    clock.now += 5
    assert list(reaping.due()) == [
        ("arena-1", Reason(Removal.ORPHAN, "whoever started it is no more"))
    ]


@given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_a_server_is_too_many_only_if_it_was_for_a_minute(
    story: list[tuple[float, int, int]],
) -> None:
    surplus, now, asked = Surplus(), 0.0, list[tuple[float, int]]()
    for passed, free, wanted in story:
        now += passed
        asked.append((now, wanted))
        said = surplus.of(now, free, wanted)
        recent = [count for at, count in asked if at >= now - 60]
        assert said <= max(0, free - max(recent))
        if now - asked[0][0] >= 60:
            assert said == max(0, free - max(recent))
        else:
            assert said == 0


def test_a_template_that_fails_is_tried_ever_more_slowly() -> None:
    pace, now, tries = Pace(), 0.0, 0
    while now < 3600:
        if pace.allowed(now, missing=100, starting=0, unplaced=0):
            tries += 1 if tries else 100
            pace.failed(now)
        now += 1
    assert 110 <= tries <= 130
    assert pace.allowed(now + 300, missing=100, starting=1, unplaced=0) == 0  # one at a time
    pace.succeeded()
    assert pace.allowed(now, missing=100, starting=9, unplaced=0) == 100


def test_servers_that_fail_all_at_once_count_as_one() -> None:
    pace = Pace()
    for _ in range(20):  # of a node that is lost
        pace.failed(0.0)
    assert pace.failures == 1
    assert pace.allowed(2.0, missing=20, starting=0, unplaced=0) == 1


def meter() -> tuple[Meter, FreeServers, Clock]:
    clock = Clock()
    free = FreeServers(Store(), "r", "packed")
    return Meter(free, Line(free), clock), free, clock


def test_the_meter_counts_what_is_allocated_by_whomever() -> None:
    metering, free, clock = meter()

    def show(pod: dict[str, Any]) -> None:
        free.follow(seen(pod))
        metering.follow(seen(pod))

    show(server(name="old", uid="old", state="allocated", turn=1))  # by the first list
    for number in range(6):
        show(server(name=f"arena-{number}", uid=str(number), ready=False))
    load = metering.load()
    assert (load.allocated, load.ready, load.starting, load.rate) == (1, 0, 6, 0.0)
    for number in range(6):
        show(server(name=f"arena-{number}", uid=str(number)))
    clock.now += 60
    for number in range(3):
        for _ in range(2):  # a second event tells nothing new
            show(server(name=f"arena-{number}", uid=str(number), state="allocated", turn=1))
    load = metering.load()
    assert (load.allocated, load.ready, load.starting) == (4, 3, 0)
    assert load.start_seconds == 20.0
    assert load.rate == 3 / 60
    clock.now += 121
    metering.follow(Sighting("arena-0", None))
    load = metering.load()
    assert (load.allocated, load.rate) == (3, 0.0)


def test_the_meter_forgets_though_nobody_asks_for_the_load() -> None:
    metering, _, clock = meter()
    for number in range(10):
        metering.follow(seen(server(name=f"arena-{number}", uid=str(number))))
        claimed = server(name=f"arena-{number}", uid=str(number), state="allocated", turn=1)
        metering.follow(seen(claimed))
        clock.now += 121
    assert tables([metering])["Meter._recent"] == 1
