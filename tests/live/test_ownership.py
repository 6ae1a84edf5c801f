"""What is not the fleet's is not shown, claimed, written or deleted, whatever a caller gives."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from podfleet import (
    AllocationError,
    AlreadyExists,
    AsyncFleet,
    Cluster,
    ConfigurationError,
    Fleet,
    FleetGroup,
    GameServer,
    GameServerTemplate,
    HeadlessDNS,
    Invalid,
    NodePortPerPod,
    NotFound,
    PodfleetError,
    ServerState,
    StatefulSet,
    wait_gone,
    wait_ready,
)
from podfleet.exposure import Resource
from podfleet.fleet.claiming import protocol
from podfleet.fleet.claiming.claim import Candidate, Claim
from podfleet.fleet.claiming.registration import lease
from podfleet.kube.paths import object_path, pods, pointer
from podfleet.model.names import FLEET, SESSION, SLOTS, STATE, registration_name
from podfleet.model.rules import Rule
from podfleet.testing import Fault
from podfleet.testing.proxy import FaultyApi
from tests.cluster.fixtures import Backend
from tests.live.arena import ANY_NODE, GRACE, eventually, eventually_async, make
from tests.live.command import Desk
from tests.live.faults import faulty

LABEL = pointer("metadata", "labels", FLEET)
WRITES = ("POST", "PUT", "PATCH", "DELETE")

NO_NAMES: list[Any] = [
    *("", ".", "..", "a/b", "../pods", "x?y", "x#y", "x%2Fy", "x y", "x\n", "-a", "a-", "a..b"),
    *("Arena-1", "arène", "\ud800", "a" * 254, None, 5, b"arena", ["arena"], {}),
]


@frozen
class World:
    """A fleet's backend behind a proxy that sees its requests, and Pods that are others'."""

    api: FaultyApi
    backend: Backend

    def path(self, name: str) -> str:
        return object_path("v1", "pods", self.backend.namespace, name)

    def pod(self, name: str) -> Any:
        return self.backend.cluster.get("v1", "pods", self.backend.namespace, name)

    def lease(self, name: str) -> Any:
        return self.backend.cluster.get(
            "coordination.k8s.io/v1", "leases", self.backend.namespace, name
        )

    def writes(self, words: str = "") -> list[str]:
        """Return the writes that name this."""
        return [one for one in self.api.seen if one.startswith(WRITES) and words in one]

    def make_lease(self, name: str, **metadata: Any) -> str:
        """Make a Lease; return its version."""
        named = {"name": name, "namespace": self.backend.namespace, **metadata}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": named}
        self.backend.cluster.create({**body, "spec": {"holderIdentity": "somebody"}})
        return str(self.lease(name)["metadata"]["resourceVersion"])

    def is_whole(self, name: str) -> bool:
        """Return whether a Pod is there, and nobody has written to it or is deleting it."""
        metadata = self.pod(name)["metadata"]
        podfleets = [key for key in metadata.get("annotations") or {} if "podfleet.dev" in key]
        return not metadata.get("deletionTimestamp") and not podfleets

    def blind(self) -> None:
        """Have the fleet's watch of its Pods learn nothing from now on, until `see`."""
        self.api.fail(Fault("GET", r"/pods\?.*(watch=true|limit=)", times=10_000, silent=True))
        self.api.cut_watches()

    def see(self) -> None:
        self.api.faults.clear()
        self.api.cut_watches()


def foreign_pod(backend: Backend, name: str, **labels: str) -> None:
    spec = {
        "terminationGracePeriodSeconds": GRACE,
        "containers": [{"name": "game", "image": backend.cluster.image}],
    }
    metadata = {"name": name, "namespace": backend.namespace, "labels": labels}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    backend.cluster.create(pod)


@pytest.fixture
def world(backend: Backend) -> Iterator[World]:
    with faulty(backend) as (api, behind):
        yield World(api, behind)


@pytest.fixture
def crowded(world: World) -> World:
    """Give a world with a Pod of nobody, of another fleet, and of somebody who imitates ours."""
    foreign_pod(world.backend, "postgres-0")
    foreign_pod(world.backend, "other-1", **{FLEET: "other", STATE: "unclaimed"})
    foreign_pod(world.backend, "arena-7xk2mbq9wd", **{STATE: "unclaimed"})
    return world


FOREIGN = ("postgres-0", "other-1", "arena-7xk2mbq9wd")


def test_what_has_a_name_but_not_the_label_is_not_found(crowded: World) -> None:
    backend = crowded.backend
    with make(Fleet, backend) as fleet:
        own = fleet.allocate("match-1", timeout=60)
        for name in FOREIGN:
            with pytest.raises(NotFound, match=f"fleet arena has no server {backend.namespace}/"):
                fleet.get(name)
            for recycle in (False, True):
                with pytest.raises(NotFound, match="is not fleet arena's"):
                    fleet.release(name, recycle=recycle)
        fleet.release("arena-gone")  # released twice is released once
        assert [one.name for one in fleet.servers()] == [own.name]
        assert fleet.reconcile(timeout=0.1) == ()
        for handle in forged(crowded, own):
            with pytest.raises(NotFound):
                fleet.release(handle)
            with pytest.raises(AllocationError, match=r"its reservation is over|server of fleet"):
                fleet.allocate(reservation=handle, timeout=10)
        # The server of that UID is gone: a Pod that has its name now is left alone.
        fleet.release(evolve(own, uid="another-cluster's"))
        fleet.release(evolve(own, name="postgres-0"))
        assert fleet.get(own.name).uid == own.uid
        with FleetGroup("group", [fleet]) as group, pytest.raises(NotFound):
            group.release(evolve(own, namespace="elsewhere"))
    for name in FOREIGN:
        assert crowded.is_whole(name)
        assert crowded.writes(name) == []


def forged(world: World, own: GameServer) -> Iterator[GameServer]:
    """Yield handles that look like a server of the fleet, or are of others."""
    for name in FOREIGN:
        shown = world.pod(name)["metadata"]
        for labels in (own.labels, shown.get("labels", {})):
            yield evolve(own, name=name, uid=shown["uid"], labels=labels, annotations={})
    yield evolve(own, namespace="elsewhere")
    yield evolve(own, labels={**own.labels, FLEET: "other"})


@pytest.mark.only("embedded", "hundreds of calls")
def test_no_handle_whatever_it_claims_to_be_has_anything_written(crowded: World) -> None:
    """All mixtures of what is true of a server and of others, but the server's own handle."""
    with make(Fleet, crowded.backend) as fleet, FleetGroup("group", [fleet]) as group:
        own = fleet.allocate("match-1", timeout=60)
        before = [pod["metadata"]["uid"] for pod in crowded.backend.pods()]
        uids = [crowded.pod(name)["metadata"]["uid"] for name in FOREIGN]
        mixtures = product(
            [own.name, *FOREIGN, "arena-gone"],
            [own.uid, *uids, ""],
            [own.namespace, "elsewhere"],
            [own.labels, {FLEET: "other"}, {FLEET: "group"}, {}],
            [own.annotations, {}, {**own.annotations, SLOTS: "4"}],
        )
        crowded.api.seen.clear()
        tried = 0
        for name, uid, namespace, labels, notes in mixtures:
            if (name, uid, namespace, labels) == (own.name, own.uid, own.namespace, own.labels):
                continue
            handle = evolve(
                own, name=name, uid=uid, namespace=namespace, labels=labels, annotations=notes
            )
            for recycle in (False, True):
                for face in (fleet, group):
                    with suppress(PodfleetError):
                        face.release(handle, recycle=recycle)
            with pytest.raises(AllocationError):
                fleet.allocate("match-2", reservation=handle, timeout=10)
            tried += 1
        assert tried > 500
        assert crowded.writes() == []
        assert [pod["metadata"]["uid"] for pod in crowded.backend.pods()] == before
        assert fleet.find("match-1") == own


@pytest.mark.only("embedded", "no request is made")
def test_names_that_no_pod_can_have_are_refused_before_any_request(
    world: World, tmp_path: Path
) -> None:
    with faulty(world.backend) as (api, backend):
        fleet = make(Fleet, backend, grant=False)
        api.seen.clear()
        for name in NO_NAMES:
            for call, field in ((fleet.get, "name"), (fleet.release, "server")):
                with pytest.raises(ConfigurationError) as caught:
                    call(name)
                assert (caught.value.field, caught.value.value) == (field, name)
            for wait in (wait_ready, wait_gone):
                with pytest.raises(ConfigurationError, match=r"^pod: "):
                    wait(name, namespace=backend.namespace, cluster=Cluster(kubeconfig=api.path))
        for reservation in ("arena-1", 5, object()):
            with pytest.raises(ConfigurationError, match=r"^reservation: "):
                fleet.allocate(reservation=reservation)  # type: ignore[arg-type]
        assert api.seen == []
    desk = Desk.of(world.backend, tmp_path, grant=False)
    for name in ("../pods", "x?y", "a" * 254):
        for command in (["release", "game:fleet", name], ["describe", name]):
            answer = desk.podfleet(*command)
            assert (answer.code, answer.out) == (2, "")
            assert "SERVER: " in answer.err
    assert world.api.seen == []


@pytest.mark.only("embedded", "the commands are tried there with kubectl beside")
def test_the_commands_find_only_what_is_a_fleets(crowded: World, tmp_path: Path) -> None:
    desk = Desk.of(crowded.backend, tmp_path)
    for command in (
        ["release", "game:fleet", "postgres-0"],
        ["release", "game:fleet", "other-1"],
        ["describe", "postgres-0"],
        ["describe", "arena-7xk2mbq9wd"],
    ):
        answer = desk.podfleet(*command)
        assert (answer.code, answer.out) == (3, "")
        assert (
            f"no server {crowded.backend.namespace}/" in answer.err or "has no server" in answer.err
        )
    assert desk.podfleet("ls", "game:fleet").out == ""
    assert all(map(crowded.is_whole, FOREIGN))
    assert not crowded.writes("/pods/")


def test_a_lease_in_a_sessions_place_is_left_alone(crowded: World) -> None:
    backend = crowded.backend
    ours = {FLEET: "arena", SESSION: "match-2"}
    versions = {
        name: crowded.make_lease(name, **metadata)
        for name, metadata in (
            (registration_name("arena", "match-1"), {}),
            (registration_name("arena", "match-2"), {"labels": ours}),
            (registration_name("arena", "match-3"), {"labels": {**ours, FLEET: "other"}}),
            (registration_name("all", "match-1"), {"labels": {**ours, SESSION: "match-1"}}),
        )
    }
    with make(Fleet, backend) as fleet:
        for session in ("match-1", "match-2", "match-3"):
            with pytest.raises(AlreadyExists, match=f"left alone: remove it, .*{session}"):
                fleet.allocate(session, timeout=30)
            assert fleet.find(session) is None
        with FleetGroup("all", [fleet]) as group, pytest.raises(AlreadyExists, match="left alone"):
            group.allocate("match-1", timeout=30)
        fleet.start()
        fleet.reconcile(timeout=0.1)
        assert fleet.allocate("match-4", timeout=60).session == "match-4"
        eventually(lambda: len(backend.pods()) == len(FOREIGN) + 1)  # those in vain are gone
    for name, version in versions.items():
        assert crowded.lease(name)["metadata"]["resourceVersion"] == version


def test_a_registration_that_names_a_foreign_pod_hands_out_another_server(crowded: World) -> None:
    backend = crowded.backend
    with make(Fleet, backend) as fleet:
        for number, name in enumerate(FOREIGN):
            session = f"match-{number}"
            candidate = Candidate(name, crowded.pod(name)["metadata"]["uid"], 0)
            backend.cluster.create(lease(backend.namespace, "arena", session, candidate, 1))
            assert fleet.find(session) is None
            server = fleet.allocate(session, timeout=60)
            assert server.name not in FOREIGN
            assert fleet.find(session) == server
    for name in FOREIGN:
        assert crowded.is_whole(name)
        assert crowded.writes(name) == []


def test_the_lease_by_which_a_fleet_is_tended_may_be_anothers(world: World) -> None:
    notes = {"podfleet.dev/drained-since": "2026-01-01T00:00:00Z"}
    version = world.make_lease("arena-tender", annotations=notes)
    with make(Fleet, world.backend, ready=1) as fleet:
        assert fleet.allocate("match-1", timeout=60).session == "match-1"  # it is not drained
        fleet.reopen()  # it is in service
        for call in (fleet.drain, fleet.roll_out, fleet.pause_rollout):
            with pytest.raises(AlreadyExists, match=r"arena-tender exists.*left alone: remove it"):
                call()
    assert world.lease("arena-tender")["metadata"]["resourceVersion"] == version
    assert world.writes("arena-tender") == []


@pytest.mark.parametrize("to", [None, "other"], ids=["unlabelled", "relabelled"])
def test_a_server_that_ceases_to_be_the_fleets(world: World, to: str | None) -> None:
    """Its watch tells nothing of it: only reads by name, and tests in writes, can know."""

    def cede(name: str) -> None:
        changed = {"op": "remove", "path": LABEL}
        if to is not None:
            changed = {"op": "replace", "path": LABEL, "value": to}
        world.backend.cluster.patch(world.path(name), changed)

    async def play() -> None:
        async with make(AsyncFleet, world.backend, ready=1) as fleet:
            taken = [await fleet.allocate(f"match-{number}", timeout=60) for number in range(4)]
            core = await fleet.here().start(10)
            await eventually_async(lambda: core.free.ready == 1)
            (free,) = await fleet.servers("ready")
            world.blind()
            names = [one.name for one in taken]
            others = {one.name for one in await fleet.servers()} - set(names)
            for name in (*names, free.name):
                cede(name)
            world.api.seen.clear()
            for recycle, server in zip((False, True), taken[:2], strict=True):
                with pytest.raises(NotFound, match="is not fleet arena's"):
                    await fleet.release(server, recycle=recycle)
            assert await fleet.find("match-2") is None
            assert core.store.get(names[3]) is not None, "the watch is silent"
            with pytest.raises(NotFound):
                await fleet.release(names[3])
            for server in taken:
                with pytest.raises(NotFound):
                    await fleet.get(server.name)
            assert {one.name for one in await fleet.servers()} == others
            allocating = asyncio.create_task(fleet.allocate("match-5", timeout=60))
            await eventually_async(lambda: free.name not in core.store.names)
            world.see()
            assert (await allocating).name not in (*names, free.name)
            for name in (*names, free.name):
                assert not world.pod(name)["metadata"].get("deletionTimestamp")
            assert world.pod(free.name)["metadata"]["labels"][STATE] == "unclaimed"
            # Whose label comes back is the fleet's again.
            world.backend.cluster.label(world.path(names[2]), FLEET, "arena")
            await eventually_async(lambda: names[2] in core.store.names)
            assert await fleet.find("match-2") == taken[2]

    asyncio.run(play())


def test_a_stateful_set_that_is_anothers_is_neither_adopted_nor_scaled(world: World) -> None:
    backend = world.backend
    others = make(
        Fleet, backend, name="others", workload=StatefulSet(replicas=1), exposure=HeadlessDNS()
    )
    with others:
        taking = StatefulSet(name="others", adopt=True)
        with pytest.raises(ConfigurationError, match="is not fleet arena's: pass another name"):
            make(Fleet, backend, workload=taking, exposure=HeadlessDNS()).start()
        sets = object_path("apps/v1", "statefulsets", backend.namespace, "others")
        world.api.seen.clear()
        backend.cluster.patch(sets, {"op": "remove", "path": LABEL})
        with pytest.raises(NotFound, match="is not fleet others's"):
            others.scale(3)
        (shown,) = backend.objects("apps/v1", "statefulsets")
        assert shown["spec"]["replicas"] == 1
        assert world.writes("/statefulsets") == []


def test_a_service_that_is_anothers_is_left_alone(world: World) -> None:
    backend = world.backend
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "arena-0", "namespace": backend.namespace},
        "spec": {"selector": {"app": "postgres"}, "ports": [{"port": 5432}]},
    }
    backend.cluster.create(service)
    exposure = NodePortPerPod(address=ANY_NODE)
    with make(Fleet, backend, workload=StatefulSet(replicas=1), exposure=exposure) as fleet:
        with pytest.raises(AlreadyExists, match=r"Service .*/arena-0 exists, and is not"):
            fleet.allocate("match-1", timeout=60)
        (shown,) = (
            one for one in backend.objects("v1", "services") if one["metadata"]["name"] == "arena-0"
        )
        assert shown["spec"]["selector"] == {"app": "postgres"}
        assert world.writes("/services/arena-0") == []


@pytest.mark.only("embedded", "no request is made")
def test_a_mistake_above_the_guard_sends_nothing(crowded: World) -> None:
    """Foreign objects are handed to all that writes, as a bug would."""

    async def play() -> None:
        async with make(AsyncFleet, crowded.backend) as fleet:
            own = await fleet.allocate("match-1", timeout=60)
            core = await fleet.here().start(10)
            guard, place = core.guard, crowded.backend.namespace
            mine = core.store.get(own.name)
            assert mine is not None
            elsewhere = {**mine, "metadata": {**mine["metadata"], "namespace": "elsewhere"}}
            foreign = [*map(crowded.pod, FOREIGN), elsewhere]
            patch: list[Any] = [{"op": "add", "path": "/metadata/labels/x", "value": "y"}]
            crowded.api.seen.clear()

            def never(_: object) -> bool:
                return False

            for pod in foreign:
                others = guard.of("arena", "all")
                calls: list[Coroutine[Any, Any, object]] = [
                    guard.delete(pods(place), pod),
                    guard.delete_while(pods(place), pod, never),
                    guard.patch(pods(place), pod, patch, never),
                    guard.create(pods(place), pod),
                    others.patch(pods(place), pod, patch, never),
                    core.delete_unchanged(pod),
                    core.claims.carry_out(protocol.Discard(pod), Claim()),
                    core.releases._end(pod, keep=False),
                    core.releases._end(pod, keep=True),
                ]
                for call in calls:
                    with pytest.raises((NotFound, ConfigurationError)):
                        await call
                if pod is not elsewhere:  # its name is the server's
                    await core.abandon(pod["metadata"]["name"], Claim())
                for step in (protocol.Take(pod, 1), protocol.Fence(pod)):
                    assert await core.claims.carry_out(step, Claim()) is None
            for pod in (crowded.pod("other-1"), elsewhere):
                with pytest.raises(NotFound):
                    await guard.adopt(pods(place), pod, patch, never)
            assert crowded.writes() == []
            assert mine["metadata"]["uid"] == own.uid

    asyncio.run(play())


class Bare(HeadlessDNS):
    """Makes objects without a label, as a strategy of a user's own may."""

    def server_objects(self, pod: Any, template: GameServerTemplate) -> tuple[Resource, ...]:
        return (self._service(pod["metadata"]["name"]),)

    def shared_objects(self, fleet: str, template: GameServerTemplate) -> tuple[Resource, ...]:
        return (*super().shared_objects(fleet, template), self._service("everywhere"))

    def rules(self) -> tuple[Rule, ...]:
        return (*super().rules(), Rule("", ("services",), ("get", "create", "patch")))

    @staticmethod
    def _service(name: str) -> Resource:
        spec = {"selector": {"app": "x"}, "ports": [{"port": 80, "protocol": "TCP"}]}
        metadata = {"name": name}
        return Resource(
            "services",
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec},
        )


@pytest.mark.only("embedded", "a real cluster takes the same requests")
def test_whatever_a_fleet_makes_has_its_label(backend: Backend) -> None:
    with make(Fleet, backend, exposure=Bare(), ready=1) as fleet:
        server = fleet.allocate("match-1", timeout=60)
        eventually(lambda: fleet.status().servers[ServerState.READY])
        for api_version, plural in (
            *(("v1", "pods"), ("v1", "services")),
            ("coordination.k8s.io/v1", "leases"),
        ):
            made = backend.objects(api_version, plural)
            assert len(made) >= 2
            assert {one["metadata"]["labels"].get(FLEET) for one in made} == {"arena"}
        assert server.name in {one["metadata"]["name"] for one in backend.objects("v1", "services")}


@pytest.mark.only("embedded", "the proxy answers")
def test_a_write_that_is_refused_for_good_is_not_repeated(world: World) -> None:
    backend = world.backend
    with make(Fleet, backend) as fleet:
        server = fleet.allocate("match-1", timeout=60)
        world.api.fail(Fault("PATCH", "/pods/", status=422, times=10_000))
        world.api.seen.clear()
        with pytest.raises(Invalid):
            fleet.release(server, recycle=True)
        assert len(world.writes(server.name)) <= 3
        world.api.faults.clear()
    workload = StatefulSet(name="legacy", adopt=True)
    adopting = make(Fleet, backend, workload=workload, exposure=HeadlessDNS())
    labels = {"app": "legacy"}
    pod = {"containers": [{"name": "game", "image": backend.cluster.image}]}
    spec = {
        "serviceName": "legacy",
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    metadata = {"name": "legacy", "namespace": backend.namespace}
    kind = {"apiVersion": "apps/v1", "kind": "StatefulSet"}
    backend.cluster.create({**kind, "metadata": metadata, "spec": spec})
    eventually(lambda: backend.objects("apps/v1", "statefulsets")[0]["status"].get("readyReplicas"))
    for path in ("/statefulsets/legacy", "/pods/legacy-0"):
        world.api.fail(Fault("PATCH", path, status=422, times=10_000))
        world.api.seen.clear()
        with pytest.raises(Invalid):
            adopting.start()
        assert len(world.writes(path)) <= 5  # its controller may write meanwhile
        world.api.faults.clear()
