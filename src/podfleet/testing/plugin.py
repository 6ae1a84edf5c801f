"""The pytest plugin of `podfleet.testing`: ``pytest_plugins = ["podfleet.testing.plugin"]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from podfleet.exposure import HostPort, NodeAddress
from podfleet.kube import Cluster
from podfleet.local import LocalCluster
from podfleet.model import GameServerTemplate, Port
from podfleet.ports import PortPool
from podfleet.sync import Fleet
from podfleet.testing.cluster import Place, TestCluster
from podfleet.testing.gameserver import IMAGE, gameserver
from podfleet.testing.proxy import FaultyApi

__all__ = [
    "podfleet_cluster",
    "podfleet_faults",
    "podfleet_fleet",
    "podfleet_place",
    "pytest_addoption",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say which cluster to test on."""
    group = parser.getgroup("podfleet")
    group.addoption(
        "--kubeconfig",
        help="test on a real cluster: a kubeconfig of its administrator",
    )
    group.addoption("--gameserver-image", help="where that cluster finds the game server for tests")


@pytest.fixture(scope="session")
def podfleet_cluster(request: pytest.FixtureRequest) -> Iterator[TestCluster]:
    """Give the cluster: the embedded one, or the real one that the options name."""
    kubeconfig = request.config.getoption("--kubeconfig")
    image = request.config.getoption("--gameserver-image")
    if kubeconfig is None:
        with (
            LocalCluster({IMAGE: gameserver}) as local,
            closing(TestCluster(local.kubeconfig, IMAGE, local=local)) as cluster,
        ):
            yield cluster
        return
    if not image:
        raise pytest.UsageError("--kubeconfig needs --gameserver-image: what its servers run")
    with closing(TestCluster(Path(kubeconfig), image)) as cluster:
        yield cluster


@pytest.fixture
def podfleet_place(podfleet_cluster: TestCluster) -> Iterator[Place]:
    """Give a namespace of the test's own; it is removed after it."""
    with podfleet_cluster.place() as place:
        yield place


@pytest.fixture
def podfleet_faults(podfleet_place: Place) -> Iterator[FaultyApi]:
    """Give what stands between `podfleet_fleet` and its API server, and can be told to fail."""
    faults = FaultyApi(podfleet_place.kubeconfig)
    with faults.kubeconfig(podfleet_place.kubeconfig):
        yield faults


@pytest.fixture
def podfleet_fleet(
    podfleet_place: Place, podfleet_faults: FaultyApi
) -> Iterator[Callable[..., Fleet]]:
    """Give a function that returns a started `Fleet`; it is stopped after the test.

    It takes what `Fleet` takes, all by name and all optional: by default the fleet ``arena`` of
    game servers that echo what they are sent, on hostPorts 31000 to 31099.
    """
    with ExitStack() as running:

        def make(name: str = "arena", **settings: Any) -> Fleet:
            port = Port("game", 7777, "TCPUDP")
            template = GameServerTemplate(image=podfleet_place.image, ports=[port])
            address = NodeAddress(internal=True)
            fleet = Fleet(
                name,
                **{
                    "template": template,
                    "exposure": HostPort(PortPool(31000, 31099), address=address),
                    "namespace": podfleet_place.namespace,
                    "cluster": Cluster(kubeconfig=podfleet_faults.path),
                    **settings,
                },
            )
            podfleet_place.grant(fleet)
            return running.enter_context(fleet)

        yield make
