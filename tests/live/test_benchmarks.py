"""The benchmarks run; how fast they are is not tested."""

import asyncio
from typing import Any

import pytest

from benchmarks import cold_allocate, observability, table, tending, warm_allocate
from tests.cluster.fixtures import LiveCluster


def check(lines: list[table.Line], capsys: pytest.CaptureFixture[str]) -> None:
    """Check that each line is told, and was measured."""
    table.report(lines)
    said = capsys.readouterr().out
    assert all(line.what in said for line in lines)
    assert all(line.value > 0 for line in lines if line.base is not None)


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


@pytest.mark.only("real", "its nodes are played by kwok")
def test_the_warm_benchmark_measures_what_it_says(
    cluster: LiveCluster, crowd: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = asyncio.run(warm_allocate.measure(cluster.kubeconfig, warm_allocate.QUICK))
    check(lines, capsys)
    (doubles,) = [line.value for line in lines if line.what.endswith("given twice")]
    assert doubles == 0


@pytest.mark.only("real", "its nodes are played by kwok")
def test_the_cost_of_observing_is_measured_as_it_says(
    cluster: LiveCluster, crowd: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = asyncio.run(observability.measure(cluster.kubeconfig, observability.QUICK))
    check(lines, capsys)


@pytest.mark.only("real", "its nodes are played by kwok")
def test_the_benchmark_of_tending_measures_what_it_says(
    cluster: LiveCluster, crowd: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = asyncio.run(tending.measure(cluster.kubeconfig, tending.QUICK))
    check(lines, capsys)
