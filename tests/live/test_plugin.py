"""The conformance suite as a user runs it: in a folder of their own, with the pytest plugin."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.fixtures import LiveCluster
from tests.docs.test_snippets import blocks

DOCS = Path(__file__).parents[2] / "docs"

MINE = """
from podfleet import Endpoint, ExposureStrategy, Rule, own_service
from podfleet.testing import StrategyConformance


class OnePublicNode(ExposureStrategy):
    def rules(self):
        return (Rule("", ("services",), ("get", "create")),)

    def server_objects(self, pod, template):
        return (own_service(pod, template, {"type": "NodePort"}),)

    def endpoints(self, pod, template, view):
        for service in view.objects:
            numbers = {one["port"]: one["nodePort"] for one in service["spec"]["ports"]}
            return tuple(
                Endpoint("NODE", numbers[port.number], port.protocol, port.name)
                for port in template.ports
            )
        return None


class TestOnePublicNode(StrategyConformance):
    strategy = OnePublicNode()
    servers = 2
"""

SURVIVES = """
from podfleet.testing import Fault, over_udp


def test_it(podfleet_fleet, podfleet_faults, podfleet_place):
    fleet = podfleet_fleet()
    fault = {fault}
    podfleet_faults.fail(fault)
    server = fleet.allocate("match-1", timeout=30)
    assert fault.times == 0, "the fault was not met"
    assert len(podfleet_place.objects("v1", "pods")) == 1
    assert over_udp(server.endpoint) == server.name + " hello"
    server.release()
"""
FAULTS = [
    fault
    for fault in re.findall(r"`(Fault\(.*?\))` \|", (DOCS / "testing.md").read_text())
    if ("POST" in fault or "PATCH" in fault) and "webhook" not in fault  # its refusal is final
]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "podfleet.testing.plugin", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(cluster: LiveCluster, tmp_path: Path) -> Path:
    address = cluster.nodes()[0]["status"]["addresses"][0]["address"]
    (tmp_path / "test_mine.py").write_text(MINE.replace("NODE", address))
    return tmp_path


def test_a_strategy_of_ones_own_is_put_to_the_suite(cluster: LiveCluster, folder: Path) -> None:
    done = run(
        folder,
        *("-q", f"--kubeconfig={cluster.kubeconfig}", f"--gameserver-image={cluster.image}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 passed" in done.stdout


def test_the_examples_of_the_docs_are_tests_that_pass(tmp_path: Path) -> None:
    """Without any option: on an embedded cluster of their own."""
    (tmp_path / "test_backend.py").write_text("".join(blocks(DOCS / "testing.md")))
    done = run(tmp_path, "-q", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fleet_survives(tmp_path: Path, fault: str) -> None:
    """What the table of faults in the docs says, each in a test of its own."""
    (tmp_path / "test_backend.py").write_text(SURVIVES.format(fault=fault))
    done = run(tmp_path, "-q", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_real_cluster_needs_an_image(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("def test_it(podfleet_cluster): pass")
    done = run(tmp_path, "-q", "--kubeconfig=admin.kubeconfig")
    assert done.returncode != 0
    assert "--kubeconfig needs --gameserver-image" in done.stdout
