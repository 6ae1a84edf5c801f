"""A short soak; `make soak` is the long one."""

import asyncio
import logging
import os

import pytest

from tests.cluster.fixtures import LiveCluster
from tests.soak.report import HEADER, faults_in, line
from tests.soak.soak import Row, soak

pytestmark = pytest.mark.only("embedded", "its cluster is its own, in a process that it measures")

SEED = int(os.environ.get("SOAK_SEED", "7"))
DAYS = 3
SECONDS = 6.0  # a day; a night takes some more


def test_days_with_random_faults(cluster: LiveCluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # pytest keeps each record, which is no leak of podfleet's
    print(f"seed {SEED}\n{HEADER}")

    def report(row: Row) -> None:
        print(line(row))

    result = asyncio.run(soak(DAYS, SECONDS, SEED, report))
    assert not faults_in(result)
    assert sum(row.counts["released"] for row in result.rows) > 10
    assert sum(row.troubles for row in result.rows) > 30
