"""Whatever a public call is given, it ends in a result or in a `PodfleetError`.

And whatever it is given, it asks for nothing and changes nothing outside its fleet: the API
server's own log of requests is looked through after each call.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import define
from hypothesis import HealthCheck, given, settings

import podfleet
from podfleet import (
    Cluster,
    Endpoint,
    Fleet,
    FleetGroup,
    FleetServer,
    GameServer,
    GameServerTemplate,
    HeadlessDNS,
    PodfleetError,
    Port,
    Protocol,
    StatefulSet,
)
from podfleet.local import LocalCluster, ServerContext
from podfleet.model.names import is_server_name
from podfleet.testing.cluster import TestCluster
from tests.odd import replaced

pytestmark = pytest.mark.only("embedded", "arguments are read before the cluster is asked")

NAMESPACE = "games"
BYSTANDER = "bystander"
SHORT = 0.2  # seconds: whatever number a call is given as its time

# What a fleet may ask for: by its label, or by its own names. Of a Pod's name that a caller gives,
# nobody can say whose it is before it is read.
_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_IN = f"/api/v1/namespaces/{NAMESPACE}"
_LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
_SETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets"
READS = re.compile(
    rf"{_IN}/pods\?.*labelSelector=podfleet.dev(%2F|/)fleet(%3D|=)\w+(&.*)?|{_IN}/pods/{_NAME}"
    rf"|{_IN}/(services|events)(\?.*)?|{_IN}/services/(arena|shared|numbered|group)"
    rf"|{_IN}/pods/{_NAME}/log(\?.*)?"
    rf"|{_LEASES}(\?.*)?|{_LEASES}/(arena|shared|numbered|group)-\w+|{_SETS}/numbered"
    r"|/api/v1/nodes(\?.*)?|/apis?(/.*)?|/version"
)
WRITES = re.compile(
    rf"POST ({_IN}/pods|{_IN}/services|{_LEASES}|{_SETS}|/apis/authorization.k8s.io/.*)(\?.*)?"
    rf"|(PATCH|DELETE) {_IN}/pods/(?P<pod>{_NAME})(\?.*)?"
    rf"|(PATCH|PUT|DELETE) {_LEASES}/(arena|shared|numbered|group)-\w+(\?.*)?"
    rf"|PATCH {_SETS}/numbered(\?.*)?"
)


async def serve(context: ServerContext) -> int:
    """Run until it is told to end."""
    del context
    await asyncio.Event().wait()
    return 0


@define
class World:
    """A cluster with fleets, and with a Pod and a Service that are nobody's."""

    local: LocalCluster
    admin: TestCluster
    fleets: dict[str, Fleet]
    group: FleetGroup
    free: GameServer
    seen: int = 0

    def bystanders(self) -> list[str]:
        found = [
            self.admin.get("v1", plural, NAMESPACE, BYSTANDER) for plural in ("pods", "services")
        ]
        return [one["metadata"]["resourceVersion"] for one in found]

    def check_requests(self) -> None:
        """Refuse what was asked since the last time, if it is not the fleets' own."""
        audit = self.local.audit
        assert len(audit) < 20_000, "the log is full"
        new, self.seen = audit[self.seen :], len(audit)
        for one in new:
            if one.method == "GET":
                assert READS.fullmatch(one.path), one
            else:
                found = WRITES.fullmatch(f"{one.method} {one.path}")
                assert found, one
                pod = found["pod"]
                assert (
                    not pod
                    or pod.startswith("numbered-")
                    or any(is_server_name(name, pod) for name in self.fleets)
                ), one


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    template = GameServerTemplate(image="arena:1", ports=[Port("game", 7777)])
    shared = GameServerTemplate(image="arena:1", ports=[Port("game", 7777)], slots=4)
    with LocalCluster({"arena:1": serve}) as local:
        admin = TestCluster(local.kubeconfig, "arena:1", local=local)
        admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        where = {"name": BYSTANDER, "namespace": NAMESPACE}
        containers = [{"name": "server", "image": "arena:1"}]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": where}
        admin.create({**pod, "spec": {"containers": containers}})
        service = {"apiVersion": "v1", "kind": "Service", "metadata": where}
        admin.create({**service, "spec": {"ports": [{"port": 80}]}})

        def fleet(name: str, **other: Any) -> Fleet:
            given = {"template": template, "exposure": HeadlessDNS(), **other}
            return Fleet(name, namespace=NAMESPACE, cluster=local.cluster, **given)

        fleets = {
            "arena": fleet("arena", ready=2),
            "shared": fleet("shared", template=shared, ready=1),
            "numbered": fleet("numbered", workload=StatefulSet(replicas=1, limit=3)),
        }
        group = FleetGroup("group", [fleets["arena"], fleet("other")])
        for one in fleets.values():
            one.start()
        free = fleets["arena"].allocate("kept", timeout=10)
        made = World(local, admin, {**fleets, "other": group.fleets[1]}, group, free)
        made.seen = len(local.audit)
        yield made
        for one in made.fleets.values():
            one.stop()
        admin.close()


def _short(name: str, value: Any) -> Any:
    """Return the value, but no time that a test cannot wait for."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_long = value is None or (is_number and value > SHORT)  # None: for as long as it takes
    return SHORT if name in ("timeout", "grace") and is_long else value


ALLOCATE = (
    "slots",
    "metadata",
    "limit",
    "select",
    "prefer",
    "reservation",
    "labels",
    "annotations",
)
CALLS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "allocate": ({"session": "match", "timeout": 1.0}, ALLOCATE),
    "reserve": ({"seconds": 1.0, "timeout": 1.0}, ("select", "prefer")),
    "join": ({"session": "kept"}, ("slots", "request")),
    "leave": ({"session": "match"}, ("slots", "request")),
    "find": ({"session": "kept"}, ()),
    "get": ({"name": BYSTANDER}, ()),
    "servers": ({"state": "ready"}, ()),
    "release": ({"server": BYSTANDER}, ("recycle",)),
    "drain": ({"timeout": SHORT}, ()),
    "scale": ({"replicas": 1}, ("timeout",)),
    "reconcile": ({"timeout": SHORT}, ()),
    "manifests": ({"service_account": "games/backend"}, ()),
    "on_event": ({"callback": print}, ()),
}


def _play(
    world: World,
    call: Callable[..., Any],
    good: dict[str, Any],
    others: tuple[str, ...],
    examples: int,
) -> None:
    before = world.bystanders()
    world.seen = len(world.local.audit)

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(replaced(good, others))
    def play(arguments: dict[str, Any]) -> None:
        arguments = {name: _short(name, value) for name, value in arguments.items()}
        try:
            made = call(**arguments)
        except PodfleetError as error:
            str(error).encode()
        else:
            if isinstance(made, FleetServer):
                made.release()
            elif callable(made):
                made()  # of on_event: ends it
        world.check_requests()

    play()
    world.check_requests()
    after = world.bystanders()
    world.seen = len(world.local.audit)
    assert after == before


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("name", ["arena", "shared", "numbered"])
def test_a_fleets_call_ends_in_a_result_or_in_an_error_of_podfleets(
    world: World, name: str, method: str
) -> None:
    fleet = world.fleets[name]
    good, others = CALLS[method]
    try:
        _play(world, getattr(fleet, method), good, others, 15)
    finally:
        if method == "drain" and name != "numbered":
            fleet.reopen()
            world.check_requests()


@pytest.mark.parametrize("method", ["allocate", "reserve", "join", "leave", "find", "release"])
def test_a_groups_call_ends_so_too(world: World, method: str) -> None:
    good, others = CALLS[method]
    _play(world, getattr(world.group, method), good, others, 10)


@pytest.mark.parametrize("wait", [podfleet.wait_ready, podfleet.wait_gone])
def test_a_waiter_ends_so_too(world: World, wait: Callable[..., None]) -> None:
    good = {"pod": BYSTANDER, "namespace": NAMESPACE, "cluster": world.local.cluster}

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(replaced({**good, "timeout": SHORT}, ("grace",) if wait is podfleet.wait_ready else ()))
    def play(arguments: dict[str, Any]) -> None:
        arguments = {name: _short(name, value) for name, value in arguments.items()}
        if not isinstance(arguments["cluster"], Cluster) and arguments["cluster"] is None:
            return  # the machine's own
        try:
            wait(**arguments)
        except PodfleetError as error:
            str(error).encode()

    before = world.bystanders()
    play()
    assert world.bystanders() == before
    world.seen = len(world.local.audit)


def test_the_dialing_waiter_ends_so_too() -> None:
    endpoint = Endpoint("127.0.0.1", 1, Protocol.TCP, "game")

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(replaced({"endpoint": endpoint, "timeout": SHORT}, ("payload",)))
    def play(arguments: dict[str, Any]) -> None:
        try:
            podfleet.wait_reachable(
                **{name: _short(name, value) for name, value in arguments.items()}
            )
        except PodfleetError as error:
            str(error).encode()

    play()
