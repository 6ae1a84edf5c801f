"""A user's own strategy: an object for each server, made, read back, and gone with its Pod."""

from podfleet import (
    ClusterView,
    Endpoint,
    ExposureStrategy,
    Fleet,
    GameServerTemplate,
    Resource,
    Rule,
)
from podfleet.model import Manifest
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, over_tcp


class OwnNodePort(ExposureStrategy):
    """A Service of type NodePort for each server; any node's address will do."""

    def __init__(self, host: str) -> None:
        self.host = host

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("", ("services",), ("get", "create")),)

    def server_objects(self, pod: Manifest, template: GameServerTemplate) -> tuple[Resource, ...]:
        name = pod["metadata"]["name"]
        ports = [{"name": p.name, "port": p.number, "protocol": "TCP"} for p in template.ports]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"type": "NodePort", "selector": {"server": name}, "ports": ports},
        }
        return (Resource("services", service),)

    def shape(
        self, pod: dict[str, object], template: GameServerTemplate, numbers: tuple[int, ...]
    ) -> None:
        metadata = pod["metadata"]
        assert isinstance(metadata, dict)
        metadata["labels"]["server"] = metadata["name"]

    def endpoints(
        self, pod: Manifest, template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        if not view.objects:
            return None
        (service,) = view.objects
        return tuple(
            Endpoint(self.host, shown["nodePort"], port.protocol, port.name)
            for port, shown in zip(template.ports, service["spec"]["ports"], strict=True)
        )


def test_a_strategy_of_ones_own(backend: Backend) -> None:
    node = backend.cluster.nodes()[0]
    host = node["status"]["addresses"][0]["address"]
    with make(Fleet, backend, exposure=OwnNodePort(host)) as fleet:
        server = fleet.allocate(session="match-1", timeout=30)
        assert eventually(lambda: _answer(server.endpoint)) == f"{server.name} hello"
    with make(Fleet, backend, exposure=OwnNodePort(host)) as restarted:
        assert restarted.allocate(session="match-1").endpoint == server.endpoint
        server = restarted.get(server.name)
        server.release()

        def services() -> str:
            return backend.cluster.kubectl("get", "services", "-n", backend.namespace)

        eventually(lambda: server.name not in services())  # by the cluster's garbage collector


def _answer(endpoint: Endpoint) -> str:
    try:
        return over_tcp(endpoint, timeout=1)
    except OSError:  # kube-proxy has not opened the number yet
        return ""
