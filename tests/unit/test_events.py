"""What changes of Pods mean, as events: by examples, and for any story."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st

from podfleet import EventKind, FleetEvent, ServerState, Verdict
from podfleet.fleet.events.derive import Derivation, Facts, Match
from podfleet.fleet.sighting import Sighting
from podfleet.kube import Change, Store
from podfleet.model.doubt import unreachable_since
from podfleet.model.names import CLAIM, CONTAINER, RECYCLED, SESSION, SESSIONS, SLOTS, STATE
from podfleet.model.recycling import snapshot
from podfleet.model.slots import sessions_of
from tests.unit.pods import Json, a_pod, condition, container_status, ready_pod, terminated, waiting

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)

SILENT_SINCE = NOW - timedelta(minutes=1)

READY, ALLOCATED = EventKind.READY, EventKind.ALLOCATED
RESTARTED = EventKind.RESTARTED
UNREACHABLE, REACHABLE = EventKind.UNREACHABLE, EventKind.REACHABLE
RELEASED, LOST, FAILED = EventKind.RELEASED, EventKind.LOST, EventKind.FAILED


class Watched:
    """A cluster as the watch shows it, and one who is told from the beginning."""

    def __init__(self) -> None:
        self.store = Store(index_by=sessions_of)
        self.derivation = Derivation(lambda: NOW)
        self.told: list[FleetEvent] = []
        self.store.listen(self._hear)
        self._version = 0

    def _hear(self, change: Change) -> None:
        self.told += self.derivation.follow(change, Sighting(change.name, change.after))

    def show(self, pod: Json) -> list[FleetEvent]:
        """Show a Pod; return what was told of it."""
        self._version += 1
        pod["metadata"]["resourceVersion"] = str(self._version)
        before = len(self.told)
        self.store.observe(pod)
        return self.told[before:]

    def remove(self, pod: Json) -> list[FleetEvent]:
        """Have a Pod vanish."""
        before = len(self.told)
        self.store.forget(pod)
        return self.told[before:]

    def present(self) -> list[FleetEvent]:
        """Return what one is told who begins now."""
        newcomer = Derivation(lambda: NOW)
        seen = [Sighting(pod["metadata"]["name"], pod) for pod in self.store]
        return [event for one in seen for event in newcomer.show(one)]


def server(
    pod: Json | None = None,
    state: str = "unclaimed",
    *,
    session: str | None = None,
    claim: str = "c1",
    sessions: dict[str, int] | None = None,
    uid: str = "u",
    name: str = "arena-0",
    going: bool = False,
    notes: dict[str, str] | None = None,
) -> Json:
    """Return a server's Pod."""
    pod = pod or ready_pod()
    annotations = dict(notes or {})
    if state == "allocated" and sessions is None:
        annotations[CLAIM] = claim
    if session is not None:
        annotations[SESSION] = session
    if sessions is not None:
        annotations |= {SLOTS: "8", SESSIONS: json.dumps(sessions)}
        state = "allocated" if sessions else "unclaimed"
    pod["metadata"] |= {
        "name": name,
        "uid": uid,
        "creationTimestamp": "2026-11-23T03:00:00Z",
        "labels": {STATE: state},
        "annotations": annotations,
    }
    if going:
        pod["metadata"]["deletionTimestamp"] = "2026-11-23T04:00:00Z"
    return pod


def ended(code: int) -> Json:
    phase = "Failed" if code else "Succeeded"
    state = terminated(code, "Error" if code else "Completed")
    return a_pod(container_status(state), phase=phase)


def evicted(status: str = "True") -> Json:
    pod = ready_pod()
    said = {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
    pod["status"]["conditions"].append(condition("DisruptionTarget", status, **said))
    return pod


def kinds(events: list[FleetEvent]) -> list[tuple[EventKind, str | None]]:
    return [(event.kind, event.session) for event in events]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def allocated(pod: Json | None = None, session: str | None = "red", **more: Any) -> Json:
    return server(pod, "allocated", session=session, **more)


def test_ready_allocated_and_released(watched: Watched) -> None:
    assert watched.show(server(a_pod())) == []
    (event,) = watched.show(server())
    assert (event.kind, event.at, event.session, event.reason) == (READY, NOW, None, "")
    assert event.server is not None
    assert (event.server.name, event.server.endpoints) == ("arena-0", ())
    (event,) = watched.show(allocated())
    assert (event.kind, event.session) == (ALLOCATED, "red")
    assert watched.show(allocated()) == []
    (event,) = watched.show(allocated(going=True))
    assert (event.kind, event.reason) == (RELEASED, "its Pod is being deleted")
    assert str(event) == "released: arena-0: red: its Pod is being deleted"
    assert watched.show(allocated(ended(143), going=True)) == []  # it was told to end
    assert watched.remove(allocated()) == []


def test_a_match_without_a_session(watched: Watched) -> None:
    assert kinds(watched.show(allocated(session=None))) == [(ALLOCATED, None)]
    assert kinds(watched.show(allocated(session=None, going=True))) == [(RELEASED, None)]


def test_a_recycled_server_is_ready_when_it_says_so(watched: Watched) -> None:
    watched.show(allocated())
    recycled = {RECYCLED: snapshot(ready_pod())}
    (event,) = watched.show(server(state="recycling", notes=recycled))
    assert (event.kind, event.session) == (RELEASED, "red")
    assert event.reason == "its server is kept for another match"
    assert watched.show(server(a_pod(), "recycling", notes=recycled)) == []
    again = ready_pod()
    again["status"]["containerStatuses"][0]["restartCount"] = 1
    assert kinds(watched.show(server(again, "recycling", notes=recycled))) == [(READY, None)]


def test_a_claim_that_was_not_seen_between_two(watched: Watched) -> None:
    """A list after a broken watch shows only the last: even for the same session."""
    watched.show(allocated())
    told = watched.show(allocated(claim="c2"))
    assert kinds(told) == [(RELEASED, "red"), (ALLOCATED, "red")]


def test_sessions_join_and_leave_a_shared_server(watched: Watched) -> None:
    assert kinds(watched.show(server(sessions={}))) == [(READY, None)]
    assert kinds(watched.show(server(sessions={"red": 1}))) == [(ALLOCATED, "red")]
    assert watched.show(server(sessions={"red": 3})) == []
    told = watched.show(server(sessions={"red": 3, "blue": 1}))
    assert kinds(told) == [(ALLOCATED, "blue")]
    assert told[0].server is not None
    assert told[0].server.session == "blue"
    (event,) = watched.show(server(sessions={"blue": 1}))
    assert (event.kind, event.session, event.reason) == (RELEASED, "red", "its session left")
    assert kinds(watched.show(server(sessions={}))) == [(RELEASED, "blue"), (READY, None)]


def test_a_server_that_crashed_is_lost(watched: Watched) -> None:
    watched.show(allocated())
    (event,) = watched.show(allocated(ended(3)))
    assert (event.kind, event.session) == (LOST, "red")
    assert "code 3" in event.reason
    assert event.diagnosis is not None
    assert event.diagnosis.verdict is Verdict.FAILED
    assert watched.show(allocated(ended(3), going=True)) == []
    assert watched.remove(allocated()) == []


def test_a_server_that_ended_well_is_released(watched: Watched) -> None:
    watched.show(allocated())
    (event,) = watched.show(allocated(ended(0)))
    assert (event.kind, event.reason) == (RELEASED, "its process ended by itself (exit 0)")
    assert event.diagnosis is None


def beside(state: Json, other: Json, policy: str = "Never", phase: str = "Running") -> Json:
    """Return the Pod of a server in a state, with another container in another."""
    pod = a_pod(
        container_status(other, name="logs"),
        container_status(state, containerID="c://1"),
        phase=phase,
        restartPolicy=policy,
    )
    pod["spec"]["containers"].insert(0, {"name": "logs"})
    return pod


RUNNING: Json = {"running": {}}
GAME = {CONTAINER: "game"}


@pytest.mark.parametrize(
    ("pod", "kind", "code"),
    [
        (beside(terminated(0, "Completed"), RUNNING), RELEASED, None),
        (beside(terminated(3), RUNNING), LOST, 3),
        (beside(terminated(137, "OOMKilled"), RUNNING), LOST, 137),
        (beside(terminated(0), terminated(1), phase="Failed"), RELEASED, None),
        (beside(terminated(3), terminated(0), phase="Failed"), LOST, 3),
        (beside(terminated(3), terminated(1), phase="Failed"), LOST, 3),
    ],
)
def test_the_servers_container_ends_the_match(
    watched: Watched, pod: Json, kind: EventKind, code: int | None
) -> None:
    watched.show(allocated(notes=GAME))
    (event,) = watched.show(allocated(pod, notes=GAME))
    assert event.kind is kind
    assert event.server is not None
    assert event.server.state is ServerState.ENDED
    assert (event.diagnosis and event.diagnosis.exit_code) == code
    assert (event.diagnosis and event.diagnosis.container) == (code and "game")


def test_a_pod_that_is_ended_as_a_whole_has_its_servers_exit_code(watched: Watched) -> None:
    pod = ended(137)
    pod["status"] |= {"reason": "DeadlineExceeded", "message": "Pod was active longer"}
    watched.show(allocated())
    (event,) = watched.show(allocated(pod))
    assert event.kind is LOST
    assert event.diagnosis is not None
    assert (event.diagnosis.reason, event.diagnosis.exit_code) == ("DeadlineExceeded", 137)
    watched.show(allocated(None, name="arena-1", uid="1"))
    pod = evicted()
    pod["status"]["containerStatuses"][0]["state"] = terminated(143)
    (event,) = watched.show(allocated(pod, name="arena-1", uid="1", going=True))
    assert event.diagnosis is not None
    assert (event.diagnosis.reason, event.diagnosis.exit_code) == ("EvictionByEvictionAPI", 143)


def test_another_container_does_not(watched: Watched) -> None:
    watched.show(allocated(beside(RUNNING, RUNNING), notes=GAME))
    assert watched.show(allocated(beside(RUNNING, terminated(1)), notes=GAME)) == []


def run(number: int, state: Json | None = None, last: Json | None = None) -> Json:
    """Return a Pod in which the server runs for the so-manieth time."""
    pod = ready_pod()
    status = pod["status"]["containerStatuses"][0]
    status |= {"containerID": f"c://{number}", "restartCount": number - 1}
    status |= {"state": state or RUNNING, "lastState": last or {}}
    return pod


def test_a_process_that_is_started_again_in_a_match_is_told_once(watched: Watched) -> None:
    watched.show(allocated(run(1)))
    crashed = terminated(3, containerID="c://1")
    (event,) = watched.show(allocated(run(1, crashed)))
    assert (event.kind, event.session) == (RESTARTED, "red")
    assert event.diagnosis is not None
    assert (event.diagnosis.exit_code, event.diagnosis.container) == (3, "game")
    assert event.diagnosis.verdict is Verdict.FAILING
    assert event.server is not None
    assert event.server.state is ServerState.ALLOCATED
    waits = waiting("CrashLoopBackOff")
    assert watched.show(allocated(run(1, waits, crashed))) == []
    assert watched.show(allocated(run(2, None, crashed))) == []
    assert kinds(watched.show(allocated(run(4)))) == [(RESTARTED, "red")]  # not all were seen
    (event,) = watched.show(allocated(run(4, terminated(0, containerID="c://4"))))
    assert (event.kind, event.diagnosis and event.diagnosis.exit_code) == (RESTARTED, 0)
    assert kinds(watched.present()) == [(ALLOCATED, "red")]


def test_a_process_that_is_started_again_between_two_matches_is_no_news(watched: Watched) -> None:
    watched.show(server(run(1)))
    assert watched.show(server(run(2))) == []
    assert kinds(watched.show(allocated(run(3)))) == [(ALLOCATED, "red")]


def test_an_evicted_server_is_lost(watched: Watched) -> None:
    watched.show(server(sessions={"red": 1, "blue": 1}))
    told = watched.show(server(evicted(), sessions={"red": 1, "blue": 1}))
    assert kinds(told) == [(LOST, "red"), (LOST, "blue")]
    assert told[0].reason == "EvictionByEvictionAPI: Eviction API: evicting"
    assert watched.show(server(evicted(), sessions={"red": 1, "blue": 1}, going=True)) == []


def test_an_eviction_that_is_called_off(watched: Watched) -> None:
    watched.show(allocated())
    assert kinds(watched.show(allocated(evicted()))) == [(LOST, "red")]
    assert watched.show(allocated(evicted())) == []
    assert kinds(watched.show(allocated(evicted("False")))) == [(ALLOCATED, "red")]
    assert kinds(watched.show(allocated(going=True))) == [(RELEASED, "red")]


def test_a_pod_that_vanished_is_lost(watched: Watched) -> None:
    watched.show(allocated())
    (event,) = watched.remove(allocated())
    assert event.kind is LOST
    assert event.reason.startswith("its Pod is gone: ")
    assert event.server is not None
    assert event.server.session == "red"


def test_a_pod_that_another_of_its_name_replaced(watched: Watched) -> None:
    """The Pods of a StatefulSet have names that come back."""
    watched.show(allocated())
    assert kinds(watched.show(server(uid="v"))) == [(LOST, "red"), (READY, None)]


def silent_node() -> Json:
    pod = ready_pod()
    for one in pod["status"]["conditions"]:
        if one["type"] == "Ready":
            one |= {"status": "False", "lastTransitionTime": "2026-11-23T03:59:00Z"}
    return pod


def unready(reason: str, containers: str) -> Json:
    """Return a Pod that a kubelet calls not ready."""
    pod = ready_pod()
    for one in pod["status"]["conditions"]:
        if one["type"] == "Ready":
            one |= {"status": "False", "reason": reason}
        if one["type"] == "ContainersReady":
            one["status"] = containers
    return pod


@pytest.mark.parametrize(
    ("pod", "since"),
    [
        (silent_node(), SILENT_SINCE),
        (ready_pod(), None),
        (a_pod(), None),
        (unready("ContainersNotReady", "False"), None),
        (unready("ReadinessGatesNotReady", "True"), None),
        ({"status": {"phase": "Unknown", "startTime": "2026-11-23T03:59:00Z"}}, SILENT_SINCE),
        ({"status": {"phase": "Unknown", "conditions": [3]}}, datetime(1970, 1, 1, tzinfo=UTC)),
        ({"status": None}, None),
    ],
)
def test_a_server_is_in_doubt_if_its_node_fell_silent(pod: Json, since: datetime | None) -> None:
    assert unreachable_since(pod) == since


def test_a_silent_node_is_told_when_its_pod_goes(watched: Watched) -> None:
    watched.show(allocated())
    (event,) = watched.show(allocated(silent_node()))  # it may come back, with all players
    assert (event.kind, event.session) == (UNREACHABLE, "red")
    assert event.reason.startswith("node node-1 does not report")
    assert event.server is not None
    assert event.server.unreachable_since == SILENT_SINCE
    assert watched.show(allocated(silent_node())) == []
    (event,) = watched.show(allocated(silent_node(), going=True))
    assert (event.kind, event.reason) == (LOST, "node node-1 does not report")


def test_a_pod_that_is_removed_from_a_silent_node(watched: Watched) -> None:
    watched.show(allocated())
    watched.show(allocated(silent_node()))
    (event,) = watched.remove(allocated(silent_node()))
    assert event.kind is LOST
    assert event.reason == "node node-1 does not report, and its Pod was removed"


def test_a_silent_node_reports_again(watched: Watched) -> None:
    sessions = {"red": 1, "blue": 1}
    watched.show(server(sessions=sessions))
    told = watched.show(server(silent_node(), sessions=sessions))
    assert kinds(told) == [(UNREACHABLE, "red"), (UNREACHABLE, "blue")]
    told = watched.show(server(silent_node(), sessions={"blue": 1, "green": 1}))
    assert kinds(told) == [(RELEASED, "red"), (ALLOCATED, "green"), (UNREACHABLE, "green")]
    told = watched.show(server(sessions={"blue": 1, "green": 1}))
    assert kinds(told) == [(REACHABLE, "blue"), (REACHABLE, "green")]
    assert told[0].reason == "node node-1 reports again"


def test_a_free_server_of_a_silent_node(watched: Watched) -> None:
    watched.show(server())
    assert kinds(watched.show(server(silent_node()))) == [(UNREACHABLE, None)]
    assert kinds(watched.show(server())) == [(REACHABLE, None)]  # it was ready all the time
    watched.show(server(silent_node()))
    assert kinds(watched.present()) == [(UNREACHABLE, None)]
    assert watched.show(server(silent_node(), going=True)) == []


def test_a_lost_node(watched: Watched) -> None:
    watched.show(allocated())
    pod = ready_pod()
    pod["status"] |= {"reason": "NodeLost"}
    (event,) = watched.show(allocated(pod, going=True))
    assert (event.kind, event.reason) == (LOST, "its node stopped reporting")


def test_a_server_that_will_never_be_ready(watched: Watched) -> None:
    watched.show(server(a_pod()))
    (event,) = watched.show(server(ended(1)))
    assert event.kind is FAILED
    assert event.diagnosis is not None
    assert event.reason == event.diagnosis.summary
    assert watched.show(server(ended(1))) == []


def test_a_free_server_that_is_deleted_has_not_failed(watched: Watched) -> None:
    watched.show(server())
    assert watched.show(server(going=True)) == []
    assert watched.remove(server()) == []
    watched.show(server(uid="v"))
    assert kinds(watched.show(server(evicted(), uid="v", going=True))) == [(FAILED, None)]


def test_a_server_whose_readiness_flaps_is_told_once(watched: Watched) -> None:
    for pod in (ready_pod(), a_pod(), ready_pod()):
        watched.show(server(pod))
    assert kinds(watched.told) == [(READY, None)]


def test_a_subscriber_that_begins_is_told_how_things_are(watched: Watched) -> None:
    watched.show(server(name="free", uid="1"))
    watched.show(server(a_pod(), name="starting", uid="2"))
    watched.show(server(sessions={"red": 1, "blue": 2}, name="shared", uid="3"))
    watched.show(allocated(ended(3), "green", name="crashed", uid="4"))
    watched.show(server(ended(3), name="failed", uid="5"))
    watched.show(allocated(None, "gold", name="going", uid="6", going=True))
    assert kinds(watched.present()) == [
        (READY, None),
        (ALLOCATED, "red"),
        (ALLOCATED, "blue"),
        (LOST, "green"),
        (FAILED, None),
        (RELEASED, "gold"),
    ]


def test_what_changes_before_it_was_shown_is_told_once(watched: Watched) -> None:
    watched.show(server())
    watched.show(allocated(None, "gone", name="arena-1", uid="1"))
    watched.derivation = Derivation(lambda: NOW)
    watched.told.clear()
    watched.show(allocated())
    watched.remove(allocated(None, "gone", name="arena-1", uid="1"))
    assert kinds(watched.told) == [(ALLOCATED, "red"), (LOST, "gone")]
    for pod in watched.store:
        assert watched.derivation.show(Sighting(pod["metadata"]["name"], pod)) == []


def test_what_is_remembered_of_a_server_is_small() -> None:
    uid = "0f4ef9a4-7b0f-4a6c-9d8e-3f1e5a0c9b7d"
    facts = Facts(uid, (Match("0" * 32, "match-" + "4" * 30),))
    size = sum(map(sys.getsizeof, [facts, *asdict(facts, recurse=False).values()]))
    match = facts.matches[0]
    assert size + sum(map(sys.getsizeof, (match, match.claim, match.session))) < 1024


PODS: list[Callable[[], Json]] = [
    ready_pod,
    a_pod,
    evicted,
    silent_node,
    lambda: evicted("False"),
    lambda: ended(0),
    lambda: ended(3),
    lambda: beside(terminated(0), RUNNING),
    lambda: beside(terminated(3), RUNNING),
    lambda: beside(RUNNING, terminated(1)),
    lambda: run(1),
    lambda: run(1, terminated(3, containerID="c://1")),
    lambda: run(2, None, terminated(3, containerID="c://1")),
]
SHOWN = st.fixed_dictionaries(
    {
        "pod": st.sampled_from(PODS).map(lambda make: make()),
        "state": st.sampled_from(["unclaimed", "allocated", "reserved", "recycling", "retiring"]),
        "session": st.sampled_from([None, "red", "blue"]),
        "claim": st.sampled_from(["c1", "c2"]),
        "sessions": st.none() | st.dictionaries(st.sampled_from("rgb"), st.just(1)),
        "uid": st.sampled_from(["", "", "", "new"]),
        "name": st.sampled_from(["arena-0", "arena-1"]),
        "going": st.booleans(),
    }
)


@given(st.lists(st.tuples(SHOWN, st.integers(0, 5)), max_size=30))
def test_any_story_is_told_in_order(story: list[tuple[dict[str, Any], int]]) -> None:
    watched = Watched()
    uids = {"arena-0": 0, "arena-1": 0}  # of a name, the latest: a UID never comes back
    for shown, chance in story:
        name = shown["name"]
        uids[name] += shown["uid"] == "new"
        pod = server(**{**shown, "uid": f"{name}-{uids[name]}"})
        watched.show(pod)
        if chance == 0:
            watched.remove(pod)
            uids[name] += 1
    last: dict[str, EventKind] = {}
    playing: set[tuple[str, str | None]] = set()
    for event in watched.told:
        assert event.server is not None
        uid = event.server.uid
        match = (uid, event.session)
        if event.kind in (READY, FAILED):
            assert last.get(uid) is not event.kind
            assert not {session for where, session in playing if where == uid}
        elif event.kind is ALLOCATED:
            assert match not in playing
            playing.add(match)
        elif event.kind in (RESTARTED, UNREACHABLE, REACHABLE):
            assert match in playing or event.session is None
            continue
        else:
            assert match in playing
            playing.remove(match)
        last[uid] = event.kind
    living = {pod["metadata"]["uid"] for pod in watched.store}
    assert {uid for uid, _ in playing} <= living  # nobody is left on a server that is gone
