"""The benchmarks run; how fast they are is not tested."""

import asyncio

import pytest

from benchmarks import cold_allocate
from tests.cluster.fixtures import LiveCluster


@pytest.mark.only("real", "it compares with kubectl, on the cluster that figures are told of")
def test_the_cold_benchmark_measures_what_it_says(
    cluster: LiveCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    times = asyncio.run(
        cold_allocate.measure(cluster.kubeconfig, cluster.kubectl_program, cluster.image, 2)
    )
    figures = cold_allocate.report(times)
    assert set(figures) == {"allocate", "kubectl wait", "PATCH"}
    assert all(len(values) == 2 for values in times.values())
    assert figures["PATCH"]["ratio"] == 1
    assert "x PATCH" in capsys.readouterr().out
