"""Strategies of a user's own: the examples, and the conformance suite on one of them."""

import json
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import evolve

from podfleet import Endpoint, Fleet, GameServerTemplate, Port
from podfleet.kube.paths import object_path
from podfleet.testing import StrategyConformance
from tests.cluster.fixtures import Backend, LiveCluster
from tests.live.arena import eventually, make, template

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_strategy.py"
EXAMPLES: dict[str, Any] = runpy.run_path(str(EXAMPLE))
OFFSET = 5000
MACHINE = "node-a"
ROUTER = "203.0.113.9"


class TestRouterPorts(StrategyConformance):
    """One machine behind a router, which is played by the test."""

    servers: ClassVar[int] = 3

    def strategy(self) -> Any:
        forwarded = {number + OFFSET: number for number in range(26500, 26540)}
        return EXAMPLES["RouterPorts"](ROUTER, forwarded)

    def template(self, image: str) -> GameServerTemplate:
        return evolve(super().template(image), node_selector={"kubernetes.io/hostname": MACHINE})

    @pytest.fixture(autouse=True)
    def _stands_before_the_machine(self, cluster: LiveCluster) -> None:
        (machine,) = (one for one in cluster.nodes() if one["metadata"]["name"] == MACHINE)
        self.machine = machine["status"]["addresses"][0]["address"]

    def dial(self, endpoint: Endpoint, transport: str) -> str:
        """Forward, as the router does."""
        assert endpoint.host == ROUTER
        inside = evolve(endpoint, host=self.machine, port=endpoint.port - OFFSET)
        return super().dial(inside, transport)


def test_a_load_balancer_for_each_server(backend: Backend) -> None:
    exposure = EXAMPLES["LoadBalancerPerServer"]()
    with make(Fleet, backend, exposure=exposure) as fleet, ThreadPoolExecutor(1) as background:
        allocating = background.submit(fleet.allocate, timeout=30)

        def service() -> Any:
            found = backend.objects("v1", "services")
            return found and found[0]

        name = eventually(service)["metadata"]["name"]
        eventually(lambda: fleet.servers("ready"))
        assert not allocating.done()  # the cloud has not given it an address
        given = {"ingress": [{"hostname": "lb-7.example.com"}]}
        backend.cluster.patch(
            f"{object_path('v1', 'services', backend.namespace, name)}/status",
            {"op": "add", "path": "/status/loadBalancer", "value": given},
        )
        server = allocating.result()
        assert (server.name, str(server.endpoint)) == (name, "lb-7.example.com:7777")
        server.release()
        eventually(lambda: not service())


def test_an_ingress_for_each_server(backend: Backend) -> None:
    exposure = EXAMPLES["IngressPerServer"]("play.example.com")
    settings = template(backend, ports=[Port("game", 7777, "TCP")])
    with make(Fleet, backend, exposure=exposure, template=settings) as fleet:
        assert fleet.preflight() == ()
        server = fleet.allocate(timeout=30)
        assert server.endpoint.url("ws", "/") == f"ws://{server.name}.play.example.com:80/"
        (ingress,) = backend.objects("networking.k8s.io/v1", "ingresses")
        (rule,) = ingress["spec"]["rules"]
        assert rule["host"] == server.endpoint.host
        assert rule["http"]["paths"][0]["backend"]["service"]["name"] == server.name
        server.release()
        eventually(lambda: not backend.objects("networking.k8s.io/v1", "ingresses"))
        eventually(lambda: not backend.objects("v1", "services"))


def test_the_example_prints_what_an_administrator_applies() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True, timeout=60
    )
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines() if line[0] == "{"]
    assert kinds.count("Role") == 3
    assert done.stderr == ""
