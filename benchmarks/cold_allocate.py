"""How long after the API server shows a Pod Ready does a cold ``allocate`` return?

Beside it: how long ``kubectl wait`` needs for the same, and one PATCH of a Pod as the measure of
both. A watch in a process of its own tells when the API server shows the Pod Ready.

    python -m benchmarks.cold_allocate [--count 20] [--json FILE] [--kubeconfig FILE --image REF]
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from benchmarks.stage import namespace as bench_namespace
from podfleet import AsyncFleet, Cluster, GameServerTemplate, HostPort, NodeAddress, Port, PortPool
from podfleet.bench import quantile
from podfleet.kube import KubeClient
from podfleet.kube.paths import pods
from tests.cluster import cluster as test_cluster
from tests.cluster.images import REFERENCES
from tests.cluster.places import KUBECONFIG

_PATIENCE = 60.0  # seconds for one Pod
TARGET = 0.100  # seconds, in the median


class ReadyTimes:
    """When the API server showed each Pod Ready, as `benchmarks.ready_times` sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._seen: dict[str, float] = {}

    @classmethod
    @asynccontextmanager
    async def watch(cls, kubeconfig: Path, namespace: str) -> AsyncIterator[Self]:
        """Watch a namespace for as long as the block lasts."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.ready_times", str(kubeconfig), namespace),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            times = cls(process)
            await times._line()
            yield times
        finally:
            process.terminate()
            await process.wait()

    async def of(self, name: str) -> float:
        """Return when the Pod was shown Ready, on the monotonic clock."""
        while name not in self._seen:
            pod, seconds = (await self._line()).split()
            self._seen[pod] = float(seconds)
        return self._seen[name]

    async def _line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            line = (await self._process.stdout.readline()).decode()
        if not line:
            raise RuntimeError("the watch of the benchmark ended")
        return line


async def measure(kubeconfig: Path, kubectl: list[str], image: str, count: int) -> dict[str, Any]:
    """Return the seconds of every try, by what was measured."""
    client = KubeClient(Cluster(kubeconfig=kubeconfig))
    template = GameServerTemplate(image=image, ports=[Port("game", 7777, "TCPUDP")])
    try:
        async with (
            bench_namespace(client) as namespace,
            ReadyTimes.watch(kubeconfig, namespace) as ready,
        ):
            patches = await _patch(client, namespace, ready, template, count)
            allocated = await _allocate(kubeconfig, namespace, template, ready, count)
            waited = await _kubectl_wait(
                client, kubeconfig, kubectl, namespace, ready, template, count
            )
    finally:
        await client.close()
    return {"allocate": allocated, "kubectl wait": waited, "PATCH": patches}


async def _patch(
    client: KubeClient,
    namespace: str,
    ready: ReadyTimes,
    template: GameServerTemplate,
    count: int,
) -> list[float]:
    path = await _create(client, namespace, template, "patched")
    await ready.of("patched")  # while it starts, the kubelet's writes slow ours
    times = []
    for turn in range(count):
        operation = {"op": "add", "path": "/metadata/labels/turn", "value": str(turn)}
        before = time.monotonic()
        await client.patch(path, [operation], done=lambda _: False)
        times.append(time.monotonic() - before)
    return times


async def _allocate(
    kubeconfig: Path, namespace: str, template: GameServerTemplate, ready: ReadyTimes, count: int
) -> list[float]:
    exposure = HostPort(PortPool(33000, 33099), address=NodeAddress(internal=True))
    fleet = AsyncFleet(
        "bench",
        template=template,
        exposure=exposure,
        namespace=namespace,
        cluster=Cluster(kubeconfig=kubeconfig),
    )
    times = []
    async with fleet:
        for _ in range(count):
            server = await fleet.allocate(timeout=60)
            returned = time.monotonic()
            times.append(returned - await ready.of(server.name))
            await server.release()
    return times


async def _kubectl_wait(
    client: KubeClient,
    kubeconfig: Path,
    kubectl: list[str],
    namespace: str,
    ready: ReadyTimes,
    template: GameServerTemplate,
    count: int,
) -> list[float]:
    times = []
    for turn in range(count):
        name = f"waited-{turn}"
        path = await _create(client, namespace, template, name)
        process = await asyncio.create_subprocess_exec(
            *(*kubectl, f"--kubeconfig={kubeconfig}", "wait", f"--namespace={namespace}"),
            *("--for=condition=Ready", "--timeout=60s", f"pod/{name}"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        if await process.wait():
            raise RuntimeError(f"kubectl wait failed for {namespace}/{name}")
        ended = time.monotonic()
        times.append(ended - await ready.of(name))
        await client.delete(path, uid=None, grace=0)
    return times


async def _create(
    client: KubeClient, namespace: str, template: GameServerTemplate, name: str
) -> str:
    pod = template.to_pod()
    pod["metadata"] |= {"name": name, "labels": {"turn": "none"}}
    await client.create(pods(namespace), pod)
    return pods(namespace, name)


def report(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Print the table; return its figures, in milliseconds."""
    base = statistics.median(times["PATCH"])
    print(f"{'':14}{'median':>9}{'p90':>9}{'max':>9}   (ms after Ready)   x PATCH")
    figures = {}
    for name, values in times.items():
        p90 = quantile(values, 0.9)
        row = {"median": statistics.median(values), "p90": p90, "max": max(values)}
        figures[name] = {key: value * 1000 for key, value in row.items()}
        figures[name]["ratio"] = row["median"] / base
        cells = "".join(f"{value * 1000:9.1f}" for value in row.values())
        print(f"{name:14}{cells}   {'':16}   {row['median'] / base:7.1f}")
    met = statistics.median(times["allocate"]) <= TARGET
    print(f"allocate: median {'within' if met else 'ABOVE'} {TARGET * 1000:.0f} ms")
    return figures


def main(arguments: list[str] | None = None) -> None:
    """Run on the cluster given, else on the test cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20, choices=range(1, 201), metavar="1..200")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--kubeconfig", type=Path, help="a cluster of your own")
    parser.add_argument("--image", default=REFERENCES["gameserver"])
    chosen = parser.parse_args(arguments)
    if chosen.kubeconfig:
        kubectl = [shutil.which("kubectl") or parser.error("--kubeconfig needs kubectl in PATH")]
        times = asyncio.run(measure(chosen.kubeconfig, kubectl, chosen.image, chosen.count))
    else:
        running = test_cluster.Cluster.up(owned=True)
        try:
            kubectl = [str(running.programs["kubernetes"]), "kubectl"]
            times = asyncio.run(measure(KUBECONFIG, kubectl, chosen.image, chosen.count))
        finally:
            if running.is_ours:
                running.down()
    figures = report(times)
    if chosen.json:
        chosen.json.write_text(json.dumps({"milliseconds": figures, "seconds": times}, indent=1))


if __name__ == "__main__":
    main()
