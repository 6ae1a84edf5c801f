"""Strategies of a user's own: the examples, and the conformance suite on one of them."""

import json
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve

from podfleet import Endpoint, Fleet, GameServerTemplate, Port
from podfleet.testing import StrategyConformance
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, template

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_strategy.py"
EXAMPLES: dict[str, Any] = runpy.run_path(str(EXAMPLE))
OFFSET = 5000
MACHINE = "node-a"


class TestRouterPorts(StrategyConformance):
    """One machine behind a router, which is played by the test."""

    servers: ClassVar[int] = 3

    def strategy(self) -> Any:
        forwarded = {number + OFFSET: number for number in range(31500, 31540)}
        return EXAMPLES["RouterPorts"]("10.99.0.11", forwarded)

    def template(self, image: str) -> GameServerTemplate:
        return evolve(super().template(image), node_selector={"kubernetes.io/hostname": MACHINE})

    def dial(self, endpoint: Endpoint, transport: str) -> str:
        """Forward, as the router does."""
        return super().dial(evolve(endpoint, port=endpoint.port - OFFSET), transport)


def test_a_load_balancer_for_each_server(backend: Backend) -> None:
    exposure = EXAMPLES["LoadBalancerPerServer"]()
    with make(Fleet, backend, exposure=exposure) as fleet, ThreadPoolExecutor(1) as background:
        allocating = background.submit(fleet.allocate, timeout=30)

        def service() -> Any:
            found = backend.cluster.json("get", "services", "-n", backend.namespace)["items"]
            return found and found[0]

        name = eventually(service)["metadata"]["name"]
        eventually(lambda: fleet.servers("ready"))
        assert not allocating.done()  # the cloud has not given it an address
        status = {"status": {"loadBalancer": {"ingress": [{"hostname": "lb-7.example.com"}]}}}
        backend.cluster.kubectl(
            *("patch", "service", name, "-n", backend.namespace, "--subresource=status"),
            *("--type=merge", "-p", json.dumps(status)),
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
        read = ("get", "ingress", server.name, "-n", backend.namespace)
        (rule,) = backend.cluster.json(*read)["spec"]["rules"]
        assert rule["host"] == server.endpoint.host
        assert rule["http"]["paths"][0]["backend"]["service"]["name"] == server.name
        server.release()
        left = ("get", "ingress,service", "-n", backend.namespace, "-o", "name")
        eventually(lambda: backend.cluster.kubectl(*left) == "")


def test_the_example_prints_what_an_administrator_applies() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True, timeout=60
    )
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines() if line[0] == "{"]
    assert kinds.count("Role") == 3
    assert done.stderr == ""
