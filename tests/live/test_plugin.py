"""The conformance suite as a user runs it: in a folder of their own, with the pytest plugin."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.fixtures import LiveCluster

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
        *("-q", f"--podfleet-kubeconfig={cluster.kubeconfig}", f"--podfleet-image={cluster.image}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 passed" in done.stdout


def test_without_a_cluster_it_says_what_to_pass(folder: Path) -> None:
    done = run(folder, "-q", "-k", "every_port")
    assert done.returncode != 0
    assert "pass --podfleet-kubeconfig and --podfleet-image" in done.stdout
