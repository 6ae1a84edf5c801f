"""The pytest plugin of `podfleet.testing`: ``pytest_plugins = ["podfleet.testing.plugin"]``."""

from __future__ import annotations

from pathlib import Path

import pytest

from podfleet.testing.cluster import TestCluster

__all__ = ["podfleet_cluster", "pytest_addoption"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say which cluster to test on."""
    group = parser.getgroup("podfleet")
    group.addoption("--podfleet-kubeconfig", help="a kubeconfig of the cluster's administrator")
    group.addoption("--podfleet-image", help="where that cluster finds the test game server")


@pytest.fixture(scope="session")
def podfleet_cluster(request: pytest.FixtureRequest) -> TestCluster:
    """Give the cluster that the options name; override this fixture to give your own."""
    kubeconfig = request.config.getoption("--podfleet-kubeconfig")
    image = request.config.getoption("--podfleet-image")
    if not kubeconfig or not image:
        raise pytest.UsageError(
            "a StrategyConformance runs on a real cluster: pass --podfleet-kubeconfig and "
            "--podfleet-image, or override the fixture podfleet_cluster"
        )
    return TestCluster(Path(kubeconfig), image)
