"""What the tests of the docs share."""

from pathlib import Path
from typing import Protocol

import pytest
import yaml


class TheCluster(Protocol):
    """What is needed of the fixture ``cluster``."""

    kubeconfig: Path
    image: str


@pytest.fixture
def as_a_reader(
    cluster: TheCluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make the test namespace the default one of the configuration that KUBECONFIG names."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    for context in config["contexts"]:
        context["context"]["namespace"] = namespace
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
