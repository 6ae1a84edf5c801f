"""A short soak; `make soak` is the long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.fixtures import LiveCluster

pytestmark = pytest.mark.only("embedded", "its cluster is its own, in a process that it measures")

SEED = os.environ.get("SOAK_SEED", "7")
SECONDS, DAY = "30", "6"
ROOT = Path(__file__).parents[2]


def test_days_with_random_faults(cluster: LiveCluster) -> None:
    # In a process of its own: what is measured is podfleet's, and no other test's.
    arguments = ["--seconds", SECONDS, "--day", DAY, "--seed", SEED]
    command = [sys.executable, "-m", "tests.soak", *arguments]
    ended = subprocess.run(command, cwd=ROOT, check=False)
    assert ended.returncode == 0
