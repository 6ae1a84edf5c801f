"""When a match is over, or begins anew: the server's container decides, alone."""

import asyncio
import time
from typing import Any

import pytest

from podfleet import (
    AsyncFleet,
    EventKind,
    Fleet,
    FleetEvent,
    HeadlessDNS,
    Port,
    ServerFailed,
    ServerState,
    StatefulSet,
)
from podfleet.fleet.tending import reaper
from podfleet.local import LocalCluster
from podfleet.model.names import RECYCLED
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, template
from tests.live.test_events import telling

READY, ALLOCATED = EventKind.READY, EventKind.ALLOCATED
RELEASED, LOST, FAILED = EventKind.RELEASED, EventKind.LOST, EventKind.FAILED
RESTARTED = EventKind.RESTARTED
LAST_LINE = "panic: no map"


def helper(backend: Backend, name: str, port: int, **env: str) -> dict[str, Any]:
    """Return a container that runs on ports of its own."""
    own = {"PORT": str(port), "HTTP_PORT": str(port + 1), **env}
    listed = [{"name": key, "value": value} for key, value in own.items()]
    return {"name": name, "image": backend.cluster.image, "env": listed}


def crowded(backend: Backend, policy: str = "Never", **env: str) -> Any:
    """Return the template of a server between another container and a native sidecar."""
    helpers = [helper(backend, "logs", 9100), {"name": "game"}]
    sidecar = helper(backend, "proxy", 9200) | {"restartPolicy": "Always"}
    spec = {"containers": helpers, "initContainers": [sidecar], "restartPolicy": policy}
    return template(
        backend,
        pod={"spec": spec},
        container="game",
        env={"LAST_LINE": LAST_LINE, **env},
    )


@pytest.mark.parametrize(("code", "kind"), [("3", LOST), ("0", RELEASED)])
def test_a_match_is_over_when_its_process_ends_though_the_pod_runs_on(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, code: str, kind: EventKind
) -> None:
    monkeypatch.setattr(reaper, "_ENDED", 2.0)  # seconds
    shape = crowded(backend, EXIT_AFTER="3", EXIT_CODE=code)
    with make(Fleet, backend, template=shape) as fleet, telling(fleet) as told:
        server = fleet.allocate("red", timeout=60)
        event = told.until(kind, "red")
        (pod,) = [one for one in backend.pods() if one["metadata"]["uid"] == server.uid]
        assert pod["status"]["phase"] == "Running"
        assert fleet.find("red") is None
        assert event.server is not None
        assert event.server.state is ServerState.ENDED
        if kind is LOST:
            assert event.diagnosis is not None
            assert event.diagnosis.container == "game"
            assert event.diagnosis.exit_code == 3
            assert LAST_LINE in event.diagnosis.log
        again = fleet.allocate("red", timeout=60)
        assert again.uid != server.uid
        eventually(lambda: server.uid not in {one["metadata"]["uid"] for one in backend.pods()})
        assert told.of("red")[:2] == [ALLOCATED, kind]


def test_a_free_server_that_ended_beside_a_sidecar_has_failed(backend: Backend) -> None:
    shape = crowded(backend, EXIT_AFTER="3", EXIT_CODE="3")
    with make(Fleet, backend, template=shape, ready=1) as fleet, telling(fleet) as told:
        event = told.until(FAILED)
        assert event.diagnosis is not None
        assert (event.diagnosis.container, event.diagnosis.exit_code) == ("game", 3)
        assert LAST_LINE in event.diagnosis.log
        assert event.server is not None
        assert fleet.get(event.server.name).state is ServerState.ENDED


def test_a_server_that_ends_before_it_is_ready_is_told_at_once(backend: Backend) -> None:
    never = {"readinessProbe": {"httpGet": {"port": 8080, "path": "/healthz"}, "periodSeconds": 1}}
    shape = crowded(backend, NEVER_READY="1", EXIT_AFTER="2", EXIT_CODE="0")
    pod = dict(shape.pod or {})
    pod["spec"]["containers"][1] |= never
    shape = template(backend, pod=pod, container="game", env=dict(shape.env))
    with make(Fleet, backend, template=shape) as fleet:
        began = time.monotonic()
        with pytest.raises(ServerFailed) as caught:
            fleet.allocate("red", timeout=60)
        assert time.monotonic() - began < 30
        diagnosis = caught.value.diagnosis
        assert (diagnosis.container, diagnosis.exit_code) == ("game", 0)
        assert LAST_LINE in diagnosis.log
    eventually(lambda: backend.pods() == [])


@pytest.mark.parametrize("workload", [None, StatefulSet(replicas=1)])
def test_a_process_that_is_restarted_in_a_match(
    backend: Backend, workload: StatefulSet | None
) -> None:
    shape = crowded(backend, "Always", EXIT_AFTER="4", EXIT_CODE="3")
    # The Pods of a StatefulSet share no ports of a pool.
    of_a_set: dict[str, Any] = (
        {} if workload is None else {"workload": workload, "exposure": HeadlessDNS()}
    )
    with make(Fleet, backend, template=shape, **of_a_set) as fleet, telling(fleet) as told:
        server = fleet.allocate("red", timeout=60)
        assert server.restarts == 0
        event = told.until(RESTARTED, "red")
        assert "what it held in memory is gone" in event.reason
        assert event.diagnosis is not None
        assert (event.diagnosis.container, event.diagnosis.exit_code) == ("game", 3)
        assert event.diagnosis.log[-1] == LAST_LINE
        assert event.server is not None
        assert event.server.state is ServerState.ALLOCATED

        def restarted() -> bool:
            found = fleet.find("red")
            assert found is not None
            assert (found.uid, found.state) == (server.uid, ServerState.ALLOCATED)
            return found.restarts > 0  # counted when it runs again, a moment after the event

        eventually(restarted)
        assert fleet.allocate("red", timeout=60).uid == server.uid  # the session keeps it
        assert told.of("red")[0] is ALLOCATED
        assert set(told.of("red")[1:]) == {RESTARTED}


def test_a_liveness_probe_that_fails_in_a_match_is_told(backend: Backend) -> None:
    asks = {"httpGet": {"port": 8080, "path": "/healthz"}, "periodSeconds": 1}
    game = {"name": "server", "livenessProbe": {**asks, "failureThreshold": 4}}
    spec = {"containers": [game], "restartPolicy": "Always", "terminationGracePeriodSeconds": 1}
    shape = template(backend, pod={"spec": spec}, env={"NEVER_READY": "1"})
    with make(Fleet, backend, template=shape) as fleet, telling(fleet) as told:
        fleet.allocate("red", timeout=60)
        event = told.until(RESTARTED, "red")
        assert event.diagnosis is not None
        assert event.diagnosis.reason == "Unhealthy"
        assert "its liveness probe failed" in event.reason
        assert event.diagnosis.events


def test_a_server_that_has_ended_is_not_recycled(backend: Backend) -> None:
    with make(Fleet, backend, template=crowded(backend, EXIT_AFTER="3")) as fleet:
        server = fleet.allocate("red", timeout=60)
        eventually(lambda: fleet.get(server.name).state is ServerState.ENDED, 60)
        fleet.release(server, recycle=True)
        eventually(lambda: backend.pods() == [], 20)  # the reaper would take it after 30 s


@pytest.mark.parametrize("probe", [True, b"hello"])
def test_a_server_that_ends_while_it_is_dialed_is_told_at_once(
    backend: Backend, probe: bool | bytes
) -> None:
    port = Port("game", 7999, "TCP" if probe is True else "UDP")  # nobody listens there
    shape = template(
        backend,
        ports=[port],
        env={"EXIT_AFTER": "2", "EXIT_CODE": "3", "LAST_LINE": LAST_LINE},
    )
    seen: list[float] = []

    async def play() -> None:
        async with make(AsyncFleet, backend, template=shape, probe=probe) as fleet:

            def note(event: FleetEvent) -> None:
                if event.kind is FAILED:
                    seen.append(time.monotonic())

            await fleet.on_event(note)
            with pytest.raises(ServerFailed) as caught:
                await fleet.allocate("red", timeout=60)
            seen.append(time.monotonic())
            diagnosis = caught.value.diagnosis
            assert diagnosis.exit_code == 3
            assert LAST_LINE in diagnosis.log

    asyncio.run(play())
    assert max(seen) - min(seen) < 1.0  # both are told with what the log says


@pytest.mark.only("embedded", "its containers are killed by name")
class TestRecycling:
    """A recycled server is ready again when it says so itself."""

    @pytest.fixture
    def local(self, backend: Backend) -> LocalCluster:
        assert backend.cluster.local is not None
        return backend.cluster.local

    def test_another_container_that_was_killed_says_nothing(
        self, backend: Backend, local: LocalCluster
    ) -> None:
        with make(Fleet, backend, template=crowded(backend, "Always")) as fleet:
            server = fleet.allocate("red", timeout=60)
            fleet.release(server, recycle=True)
            for name, kind in (("logs", "containerStatuses"), ("proxy", "initContainerStatuses")):
                local.kill(server.name, backend.namespace, container=name)

                def is_back(name: str = name, kind: str = kind) -> bool:
                    (pod,) = backend.pods()
                    (status,) = [one for one in pod["status"][kind] if one["name"] == name]
                    return bool(status["restartCount"] == 1 and status["ready"])

                eventually(is_back)
            eventually(lambda: _is_ready(backend.pods()[0]))
            assert _state_now(backend, fleet, server.name) is ServerState.STARTING
            local.kill(server.name, backend.namespace)
            eventually(lambda: fleet.get(server.name).state is ServerState.READY, 60)
            assert fleet.allocate("blue", timeout=60).uid == server.uid

    def test_beside_a_container_with_a_probe_a_replica_records_it(
        self, backend: Backend, local: LocalCluster
    ) -> None:
        """Kubernetes dates the readiness of all containers together, a sidecar's too."""
        probe = {"readinessProbe": {"tcpSocket": {"port": 9100}, "periodSeconds": 1}}
        containers = [helper(backend, "logs", 9100) | probe, {"name": "game"}]
        shape = template(backend, pod={"spec": {"containers": containers}}, container="game")
        with (
            make(Fleet, backend, template=shape) as fleet,
            make(Fleet, backend, template=shape, grant=False) as another,
        ):
            another.servers()
            server = fleet.allocate("red", timeout=60)
            fleet.release(server, recycle=True)
            for ready in (False, True):
                _set_container_ready(backend, server.name, "logs", ready)
                assert _state_now(backend, fleet, server.name) is ServerState.STARTING
            _set_container_ready(backend, server.name, "game", ready=False)
            eventually(lambda: '"unready"' in fleet.get(server.name).annotations[RECYCLED])
            _set_container_ready(backend, server.name, "game", ready=True)
            eventually(lambda: fleet.get(server.name).state is ServerState.READY)
            assert another.allocate("blue", timeout=60).uid == server.uid

    def test_a_silent_node_says_nothing(self, backend: Backend, local: LocalCluster) -> None:
        """Its Pods' Ready is set to False, and then to True again."""
        with make(Fleet, backend) as fleet:
            server = fleet.allocate("red", timeout=60)
            fleet.release(server, recycle=True)
            for status in ("False", "True"):
                _set_ready(backend, server.name, status)
            assert _state_now(backend, fleet, server.name) is ServerState.STARTING


def _is_ready(pod: Any) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"]["conditions"]}
    return bool(conditions["Ready"] == "True")


def _state_now(backend: Backend, fleet: Fleet, name: str) -> ServerState:
    """Return a server's state once the fleet's watch has shown all that happened until now."""
    path = f"/api/v1/namespaces/{backend.namespace}/pods/{name}"
    backend.cluster.patch(path, {"op": "add", "path": "/metadata/labels/shown", "value": "yes"})
    eventually(lambda: "shown" in fleet.get(name).labels)
    return fleet.get(name).state


def _set_container_ready(backend: Backend, name: str, container: str, ready: bool) -> None:
    """Write what the kubelet writes."""
    (pod,) = [one for one in backend.pods() if one["metadata"]["name"] == name]
    status = pod["status"]
    (at,) = [i for i, one in enumerate(status["containerStatuses"]) if one["name"] == container]
    operations = [
        {"op": "replace", "path": f"/status/containerStatuses/{at}/ready", "value": ready}
    ]
    for i, one in enumerate(status["conditions"]):
        if one["type"] in ("Ready", "ContainersReady"):
            operations += [
                {"op": "replace", "path": f"/status/conditions/{i}/status", "value": str(ready)},
                {
                    "op": "replace",
                    "path": f"/status/conditions/{i}/lastTransitionTime",
                    "value": f"2026-11-23T0{4 + ready}:00:00Z",
                },
            ]
    path = f"/api/v1/namespaces/{backend.namespace}/pods/{name}/status"
    backend.cluster.patch(path, *operations)


def _set_ready(backend: Backend, name: str, status: str) -> None:
    """Write what the node lifecycle controller, or a kubelet that is back, writes."""
    (pod,) = [one for one in backend.pods() if one["metadata"]["name"] == name]
    (at,) = [i for i, one in enumerate(pod["status"]["conditions"]) if one["type"] == "Ready"]
    place = f"/status/conditions/{at}"
    backend.cluster.patch(
        f"/api/v1/namespaces/{backend.namespace}/pods/{name}/status",
        {"op": "replace", "path": f"{place}/status", "value": status},
        {"op": "replace", "path": f"{place}/lastTransitionTime", "value": "2026-11-23T04:00:00Z"},
    )
