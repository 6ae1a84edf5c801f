"""Several fleets in one call: in order, by weight, the next if one cannot."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from podfleet import (
    AllocationError,
    AsyncFleet,
    AsyncFleetGroup,
    ConfigurationError,
    Fleet,
    FleetGroup,
    HeadlessDNS,
    ServerError,
    ServerFailed,
    ServerState,
    StatefulSet,
    TransportError,
)
from podfleet.model.names import FLEET
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, eventually_async, make, over_udp, template
from tests.live.faults import faulty
from tests.live.test_warm import free_again, until_ready


def warm(backend: Backend, **fleets: int) -> None:
    """Have each fleet so many servers ready, and nobody who tends them."""
    for name, count in fleets.items():
        with make(Fleet, backend, name=name, ready=count) as fleet:
            until_ready(fleet, count)


def group(backend: Backend, name: str = "both", **settings: Any) -> FleetGroup:
    fleets = [make(Fleet, backend, name=one) for one in ("stable", "canary")]
    return FleetGroup(name, fleets, **settings)


def fleets_of(backend: Backend) -> Counter[str]:
    return Counter(pod["metadata"]["labels"][FLEET] for pod in backend.pods())


def test_the_first_fleet_goes_first_and_then_the_next(backend: Backend) -> None:
    warm(backend, stable=1, canary=2)
    with group(backend) as both:
        for fleet, count in zip(both.fleets, (1, 2), strict=True):
            until_ready(fleet, count)
        servers = [both.allocate(f"match-{number}", timeout=30) for number in range(3)]
        assert [one.labels[FLEET] for one in servers] == ["stable", "canary", "canary"]
        for number, server in enumerate(servers):
            assert over_udp(server.endpoint) == f"{server.name} hello"
            assert both.find(f"match-{number}") == server
            assert both.allocate(f"match-{number}", timeout=30) == server
        assert both.allocate(timeout=60).labels[FLEET] == "stable"  # it started one
        servers[1].release()
        eventually(lambda: both.find("match-1") is None)
        assert fleets_of(backend)["canary"] <= 2
        with make(Fleet, backend, name="other") as other:
            elsewhere = other.allocate(timeout=60)
        with pytest.raises(ConfigurationError, match="must be a server of stable or canary"):
            both.release(elsewhere)


def test_weights_say_which_fleet_goes_first(backend: Backend) -> None:
    warm(backend, stable=2, canary=2)
    with group(backend, weights=[0, 1]) as both:
        for fleet in both.fleets:
            until_ready(fleet, 2)
        asked = [None, "match-1", "match-2"]
        found = [both.allocate(session, timeout=30).labels[FLEET] for session in asked]
        assert found == ["canary", "canary", "stable"]  # it had none left


def test_a_session_asked_of_several_groups_at_once_is_one_server(backend: Backend) -> None:
    """The replicas prefer different fleets, as they do half way through a deploy."""
    warm(backend, stable=8, canary=8)
    sessions = [f"match-{number}" for number in range(8)]

    async def play() -> None:
        groups = [
            AsyncFleetGroup(
                "both",
                [make(AsyncFleet, backend, name=name) for name in ("stable", "canary")],
                weights=weights,
            )
            for weights in ([1, 0], [0, 1], [1, 1])
        ]
        for one in groups:
            await one.start()
        calls = [one.allocate(session, timeout=60) for session in sessions for one in groups]
        servers = await asyncio.gather(*calls)
        by_session = {
            session: {server.uid for server in servers if server.session == session}
            for session in sessions
        }
        assert all(len(uids) == 1 for uids in by_session.values()), by_session
        assert len({server.uid for server in servers}) == len(sessions)
        for one in groups:
            await one.stop()

    asyncio.run(play())
    states = Counter(pod["metadata"]["labels"]["podfleet.dev/state"] for pod in backend.pods())
    assert states == {"allocated": 8, "unclaimed": 8}


def test_a_fleet_that_cannot_start_a_server_gives_way_to_the_next(backend: Backend) -> None:
    broken = make(Fleet, backend, name="canary", template=template(backend, image="No/Thing"))
    with FleetGroup("both", [broken, make(Fleet, backend, name="stable")]) as both:
        server = both.allocate("match-1", timeout=60)
        assert server.labels[FLEET] == "stable"
        eventually(lambda: fleets_of(backend) == {"stable": 1})
    worse = make(Fleet, backend, name="worse", template=template(backend, image="No/Where"))
    with FleetGroup("none", [broken, worse]) as none:
        with pytest.raises(ServerFailed, match="No/Thing") as failed:
            none.allocate(timeout=60)
        assert any("No/Where" in note for note in failed.value.__notes__)
        eventually(lambda: fleets_of(backend) == {"stable": 1})


@pytest.mark.only("embedded", "it is the same requests on a real cluster")
def test_a_session_on_a_fleet_that_left_the_group_gets_no_second_server(backend: Backend) -> None:
    """As in a deploy that takes a fleet out of the group: both sorts of backends run at once."""
    warm(backend, canary=1)
    stable, canary = (make(Fleet, backend, name=name) for name in ("stable", "canary"))
    with FleetGroup("both", [stable, canary]) as before:
        server = before.allocate("match-1", timeout=30)
        assert server.labels[FLEET] == "canary"
        with FleetGroup("both", [make(Fleet, backend, name="stable")]) as after:
            for call in (after.find, after.allocate):
                with pytest.raises(ConfigurationError, match="of fleet canary, which this group"):
                    call("match-1")
            assert before.find("match-1") == server
            server.release()
            eventually(lambda: not fleets_of(backend)["canary"])
            assert after.find("match-1") is None
            assert after.allocate("match-1", timeout=60).labels[FLEET] == "stable"


def test_a_caller_in_line_takes_what_any_fleet_has_first(backend: Backend) -> None:
    full = template(backend, node_selector={"moon": "dark"})  # its servers wait for a node

    async def until_one_waits() -> None:
        await eventually_async(lambda: fleets_of(backend)["stable"] == 1)

    async def play() -> None:
        stable = make(AsyncFleet, backend, name="stable", template=full)
        canary = make(AsyncFleet, backend, name="canary")
        async with AsyncFleetGroup("both", [stable, canary]) as both:
            busy = await canary.allocate(timeout=60)
            waiting = asyncio.create_task(both.allocate("match-1", timeout=60))
            await until_one_waits()
            await asyncio.to_thread(free_again, backend, busy.name)
            assert (await waiting).uid == busy.uid
            assert (await canary.status()).waiting == (await stable.status()).waiting == 0

            waiting = asyncio.create_task(both.allocate(timeout=60))
            await until_one_waits()
            await both.stop()
            with pytest.raises(AllocationError, match="was stopped while it allocated"):
                await waiting

    asyncio.run(play())
    eventually(lambda: fleets_of(backend) == {"canary": 1})


def test_shared_servers_of_several_fleets(backend: Backend) -> None:
    shape = template(backend, slots=4)
    fleets = [make(Fleet, backend, name=name, template=shape) for name in ("stable", "canary")]
    with FleetGroup("both", fleets) as both:
        first = both.allocate("red", slots=2, timeout=60)
        assert both.allocate("blue", slots=1, timeout=60).uid == first.uid
        assert both.join("red", request="ann").sessions == {"red": 3, "blue": 1}
        both.leave("red", slots=1)
        assert both.find("red").sessions == {"red": 2, "blue": 1}  # type: ignore[union-attr]
        both.release(first)
        eventually(lambda: sessions_registered(backend) == {"blue"})
        again = both.allocate("red", slots=3, timeout=60)
        assert again.sessions == {"red": 3, "blue": 1}
        assert fleets_of(backend) == {"stable": 1}


def sessions_registered(backend: Backend) -> set[str]:
    leases = backend.objects("coordination.k8s.io/v1", "leases")
    notes = [lease["metadata"].get("annotations", {}) for lease in leases]
    return {one["podfleet.dev/session"] for one in notes if "podfleet.dev/session" in one}


def test_a_group_reserves_and_recycles(backend: Backend) -> None:
    warm(backend, canary=1)
    with group(backend, weights=[0, 1]) as both:
        reserved = both.reserve(60, timeout=60)
        assert reserved.labels[FLEET] == "canary"
        server = both.allocate("match-1", reservation=reserved, timeout=30)
        assert server.uid == reserved.uid
        server.release(recycle=True)
        eventually(lambda: not sessions_registered(backend))
        with make(Fleet, backend, name="other") as other:
            elsewhere = other.reserve(60, timeout=60)
            with pytest.raises(AllocationError, match="is a server of fleet other, not of group"):
                both.allocate(reservation=elsewhere, timeout=30)


def test_a_lost_reply_is_found_again_by_its_session(backend: Backend) -> None:
    warm(backend, stable=1, canary=1)
    with faulty(backend) as (api, behind), group(behind) as both:
        for fleet in both.fleets:
            until_ready(fleet, 1)
        path = "/pods/(stable|canary)-"
        api.fail(Fault("PATCH", path, lose_reply=True, times=100))
        api.fail(Fault("GET", path, status=500, times=100))
        with pytest.raises((ServerError, TransportError)):
            both.allocate("match-1", timeout=60)
        api.faults.clear()
        server = both.allocate("match-1", timeout=60)
        assert server.labels[FLEET] == "stable"
        assert len(both.fleets[0].servers(ServerState.ALLOCATED)) == 1
        assert not both.fleets[1].servers(ServerState.ALLOCATED)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda backend: [], "must be one fleet at least"),
        (lambda backend: ["arena"], "'arena': must be a Fleet"),
        (lambda backend: [plain(backend), plain(backend)], "names of their own"),
        (lambda backend: [plain(backend, name="both")], "none the group's, 'both'"),
        (
            lambda backend: [plain(backend, workload=StatefulSet(), exposure=HeadlessDNS())],
            "'arena': a fleet over a StatefulSet cannot be in a group",
        ),
        (
            lambda backend: [plain(backend), plain(backend, name="far", namespace="moon")],
            "'far': is not in the namespace and cluster of the first one",
        ),
        (
            lambda backend: [
                plain(backend),
                plain(backend, name="slots", template=template(backend, slots=2)),
            ],
            "sessions share the servers of all fleets, or of none",
        ),
    ],
)
def test_fleets_that_are_no_group_are_refused(
    backend: Backend, made: Callable[[Backend], list[Any]], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        FleetGroup("both", made(backend))


def plain(backend: Backend, **settings: Any) -> Fleet:
    return make(Fleet, backend, grant=False, **settings)


def test_weights_are_checked(backend: Backend) -> None:
    fleets = [plain(backend), plain(backend, name="canary")]
    for weights, said in (
        ([1], r"\[1\]: must be 2, one a fleet"),
        ([1, -1], "-1: must be a number, 0 or more"),
        ([0, 0], r"\[0, 0\]: one at least must be above 0"),
    ):
        with pytest.raises(ConfigurationError, match=f"FleetGroup.weights: {said}"):
            FleetGroup("both", fleets, weights=weights)
