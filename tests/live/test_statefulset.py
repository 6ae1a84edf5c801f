"""A fleet over a StatefulSet: names, growth, shrinking, and a set that was there before."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from attrs import evolve

from podfleet import (
    AllocationTimeout,
    ConfigurationError,
    Exhausted,
    Fleet,
    FleetServer,
    HeadlessDNS,
    NodePortPerPod,
    StatefulSet,
)
from podfleet.fleet.sets import replicas
from podfleet.kube.paths import object_path
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.cluster.naming import resolve
from tests.live.arena import ANY_NODE, eventually, make, over_udp, template
from tests.live.faults import faulty


def over(backend: Backend, workload: StatefulSet, **changes: Any) -> Fleet:
    changes.setdefault("exposure", HeadlessDNS())
    return make(Fleet, backend, workload=workload, **changes)


def replicas_of(backend: Backend, name: str = "arena") -> int:
    shown = backend.cluster.get("apps/v1", "statefulsets", backend.namespace, name)
    return int(shown["spec"]["replicas"])


def ready_replicas(backend: Backend) -> int:
    (shown,) = backend.objects("apps/v1", "statefulsets")
    return int(shown["status"].get("readyReplicas", 0))


def pod_names(backend: Backend) -> list[str]:
    shown = [pod for pod in backend.pods() if not pod["metadata"].get("deletionTimestamp")]
    return sorted(pod["metadata"]["name"] for pod in shown)


def assert_answers(server: FleetServer) -> None:
    endpoint = server.endpoint
    assert endpoint.address is not None
    assert over_udp(evolve(endpoint, host=endpoint.address)) == f"{server.name} hello"


@pytest.fixture
def four(backend: Backend) -> Iterator[tuple[Fleet, list[FleetServer]]]:
    """Give a fleet of four servers, all allocated, by number."""
    with over(backend, StatefulSet(replicas=4)) as fleet:
        servers = [fleet.allocate(f"match-{number}", timeout=60) for number in range(4)]
        yield fleet, sorted(servers, key=lambda server: server.name)


def test_names_are_those_of_the_kubernetes_documentation(backend: Backend) -> None:
    with over(backend, StatefulSet(replicas=1)) as fleet:
        first = fleet.allocate(timeout=30)
        assert first.endpoint.host == f"arena-0.arena.{backend.namespace}.svc.cluster.local"
        assert eventually(lambda: resolve(first.endpoint.host)) == first.endpoint.address
        assert_answers(first)
        first.release()
        again = fleet.allocate(timeout=60)
        assert (again.name, again.endpoint.host) == (first.name, first.endpoint.host)
        assert again.uid != first.uid
        assert_answers(again)
        assert replicas_of(backend) == 1  # it was waited for: no other was added


def test_a_server_whose_end_the_watch_has_not_shown_yet_is_waited_for(backend: Backend) -> None:
    with faulty(backend) as (api, behind), over(behind, StatefulSet(replicas=1)) as fleet:
        first = fleet.allocate(timeout=60)
        eventually(lambda: api.watching)
        api.fail(Fault("GET", r"/pods\?.*watch=true", delay=3.0))
        api.cut_watches()
        first.release()
        again = fleet.allocate(timeout=60)
        assert (again.name, replicas_of(backend)) == (first.name, 1)


def test_the_lowest_free_number_is_allocated_first(backend: Backend) -> None:
    with over(backend, StatefulSet(replicas=3)) as fleet:
        eventually(lambda: len(fleet.servers("ready")) == 3)
        assert [fleet.allocate(timeout=30).name for _ in range(4)] == [
            f"arena-{number}" for number in range(4)
        ]
        assert replicas_of(backend) == 4


def test_scaling_down_takes_free_servers_only(
    backend: Backend, four: tuple[Fleet, list[FleetServer]]
) -> None:
    fleet, servers = four
    servers[3].release()
    servers[0].release()
    eventually(
        lambda: [one.name for one in fleet.servers("ready")] and len(pod_names(backend)) == 4
    )
    assert fleet.scale(0) == 3
    eventually(lambda: pod_names(backend) == ["arena-0", "arena-1", "arena-2"])
    for server in servers[1:3]:
        assert_answers(server)
        assert fleet.get(server.name).uid == server.uid


def test_the_highest_number_keeps_all_below_it(
    backend: Backend, four: tuple[Fleet, list[FleetServer]]
) -> None:
    fleet, servers = four
    for server in servers[:3]:
        server.release()
    assert fleet.scale(1) == 4
    assert_answers(servers[3])
    servers[3].release()
    eventually(lambda: fleet.scale(1) == 1)
    eventually(lambda: pod_names(backend) == ["arena-0"])


def test_a_claim_races_a_scale_down(backend: Backend) -> None:
    """Two backends: one allocates while the other takes what is free; nobody loses a match."""
    workload = StatefulSet(replicas=3)
    allocated: list[FleetServer] = []
    with over(backend, workload) as fleet, over(backend, workload) as other:
        for _ in range(4):
            eventually(lambda: fleet.servers("ready"), 60)
            with ThreadPoolExecutor(2) as threads:
                claims = [threads.submit(fleet.allocate, timeout=60) for _ in range(2)]
                other.scale(0)
                other.scale(len(allocated) + 3)
                allocated += [claim.result() for claim in claims]
            if len(allocated) > 4:
                allocated.pop(0).release()
        assert len({server.uid for server in allocated}) == len(allocated)
        for server in allocated:
            assert fleet.get(server.name).uid == server.uid
            assert_answers(server)


def test_a_mark_of_a_scale_down_that_was_killed_is_taken_away(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "_MARK_LASTS", 1.0)
    with over(backend, StatefulSet(replicas=1, limit=1)) as fleet:
        eventually(lambda: fleet.servers("ready"))
        path = object_path("v1", "pods", backend.namespace, "arena-0")
        backend.cluster.label(path, "podfleet.dev/state", "retiring")
        eventually(lambda: fleet.servers("stopping"))
        assert fleet.allocate(timeout=30).name == "arena-0"


def test_a_set_that_was_there_before(backend: Backend) -> None:
    legacy = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "legacy", "namespace": backend.namespace},
        "spec": {
            "serviceName": "legacy",
            "replicas": 2,
            "selector": {"matchLabels": {"app": "legacy"}},
            "template": {
                "metadata": {"labels": {"app": "legacy"}},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [
                        {
                            "name": "logs",
                            "image": backend.cluster.image,
                            "env": [
                                {"name": "PORT", "value": "9100"},
                                {"name": "HTTP_PORT", "value": "9101"},
                            ],
                        },
                        {"name": "game", "image": backend.cluster.image},
                    ],
                },
            },
        },
    }
    backend.cluster.apply([legacy])
    eventually(lambda: ready_replicas(backend) == 2)
    uids = {pod["metadata"]["uid"] for pod in backend.pods()}
    exposure = NodePortPerPod(address=ANY_NODE)
    with pytest.raises(ConfigurationError, match="adopt=True"):
        over(backend, StatefulSet(name="legacy"), exposure=exposure).start()
    adopted = StatefulSet(name="legacy", adopt=True)
    named = template(backend, pod={"spec": {"containers": [{"name": "game"}]}}, container="game")
    with over(backend, adopted, exposure=exposure, template=named) as fleet:
        first, second = (fleet.allocate(timeout=30) for _ in range(2))
        assert [first.name, second.name] == ["legacy-0", "legacy-1"]
        assert {first.uid, second.uid} == uids  # nothing was restarted
        assert over_udp(first.endpoint) == "legacy-0 hello"
        first.release()
        fresh = fleet.allocate("match-1", timeout=60)
        assert fresh.name == "legacy-0"
        assert fresh.uid not in uids
        assert over_udp(fresh.endpoint) == "legacy-0 hello"
        # Which container is the server is recorded, on those that were there and on later ones.
        for server in (second, fresh):
            assert server.annotations["podfleet.dev/container"] == "game"
    with over(backend, adopted, exposure=exposure) as restarted:
        assert restarted.allocate("match-1").uid == fresh.uid


def test_free_servers_come_back_with_a_new_template(backend: Backend) -> None:
    workload = StatefulSet(replicas=2)
    with over(backend, workload) as fleet:
        eventually(lambda: len(fleet.servers("ready")) == 2)
        running = fleet.allocate("match-1", timeout=30)
    newer = template(backend, env={"LEVEL": "2"})
    with over(backend, workload, template=newer) as fleet:
        server = fleet.allocate("match-2", timeout=60)
        assert server.name == "arena-1"
        (shown,) = (pod for pod in backend.pods() if pod["metadata"]["uid"] == server.uid)
        assert {"name": "LEVEL", "value": "2"} in shown["spec"]["containers"][0]["env"]
        assert fleet.allocate("match-1").uid == running.uid


def test_two_backends_with_different_templates_share_the_set(backend: Backend) -> None:
    """As in a roll-out of the backend: the older one uses the newer one's servers."""
    workload = StatefulSet(replicas=2)
    newer = template(backend, env={"LEVEL": "2"})
    with (
        over(backend, workload) as old,
        over(backend, workload, template=newer) as new,
    ):
        for server in [new.allocate(timeout=60), new.allocate(timeout=60)]:
            server.release()
        server = old.allocate(timeout=60)
        (shown,) = (pod for pod in backend.pods() if pod["metadata"]["uid"] == server.uid)
        assert {"name": "LEVEL", "value": "2"} in shown["spec"]["containers"][0]["env"]
        assert replicas_of(backend) == 2


def test_servers_that_stay_after_all_are_free_at_once(backend: Backend) -> None:
    """Scaled down and up again, before the controller took any."""
    with over(backend, StatefulSet(replicas=3)) as fleet:
        eventually(lambda: len(fleet.servers("ready")) == 3)
        fleet.scale(0)
        fleet.scale(3)
        eventually(lambda: len(fleet.servers("ready")) == 3, 20)


def test_the_limit(backend: Backend) -> None:
    with over(backend, StatefulSet(limit=1)) as fleet:
        fleet.allocate(timeout=30)
        with pytest.raises(Exhausted, match=r"all 1 servers are in use.*StatefulSet\.limit"):
            fleet.allocate(timeout=3)
        assert replicas_of(backend) == 1


def test_servers_that_never_become_ready_do_not_make_the_set_grow(backend: Backend) -> None:
    broken = template(backend, image="127.0.0.1:1/missing:1")
    with over(backend, StatefulSet(), template=broken) as fleet:
        for _ in range(3):
            with pytest.raises(AllocationTimeout, match="arena-0") as failed:
                fleet.allocate(timeout=4)
        assert "127.0.0.1:1/missing:1" in str(failed.value)
        assert replicas_of(backend) == 1


def test_what_a_stateful_set_cannot_do_is_said_at_once(backend: Backend) -> None:
    with pytest.raises(ConfigurationError, match="made alike"):
        make(Fleet, backend, workload=StatefulSet())
    with make(Fleet, backend) as fleet, pytest.raises(ConfigurationError, match="StatefulSet"):
        fleet.scale(3)
    with (
        over(backend, StatefulSet()) as fleet,
        pytest.raises(ConfigurationError, match="0 or more"),
    ):
        fleet.scale(-1)
