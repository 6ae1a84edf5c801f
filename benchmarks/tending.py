"""How fast a tender fills a fleet, beside plain creates, and what it takes to tend a large one.

    python -m benchmarks.tending [--quick] [--json FILE]

Creates in flight are as many as the tender's own; both make the same Pods, in turns, in one run,
on nodes that kwok plays.
"""

import argparse
import asyncio
import gc
import random
import statistics
import time
from pathlib import Path

from attrs import evolve, frozen

from benchmarks.figures import resident
from benchmarks.stage import Stage, crowded, namespace, played
from benchmarks.table import Line, report, write
from podfleet import AsyncFleet, Cluster, HeadlessDNS
from podfleet.bench import in_turns
from podfleet.fleet.spec import FleetSpec
from podfleet.fleet.tally import Purpose
from podfleet.fleet.tending.works import AT_ONCE
from podfleet.kube import KubeClient
from podfleet.kube.paths import object_path, pods
from podfleet.model import ServerState
from podfleet.model.manifest import name_of
from podfleet.model.names import FLEET, new_server_name

_NODES = 50
_PATIENCE = 600.0  # seconds


@frozen
class Size:
    """How much is measured.

    Args:
        fill: Servers of a fleet that is filled, in each round.
        rounds: How many.
        tended: Servers of the large fleet.
        seconds: For how long that is tended.
        rate: Matches a second that begin, and end, meanwhile.
    """

    fill: int = 1000
    rounds: int = 3
    tended: int = 5000
    seconds: float = 60.0
    rate: float = 5.0


QUICK = Size(fill=20, rounds=1, tended=30, seconds=2.0)


def _plain(stage: Stage) -> FleetSpec:
    return FleetSpec(name="plain", template=stage.template, exposure=HeadlessDNS())


async def plainly(stage: Stage, client: KubeClient, count: int) -> float:
    """Create Pods like a fleet's, which none tends; return how many a second."""
    spec, path = _plain(stage), pods(stage.namespace)
    bodies = (spec.pod(stage.namespace, new_server_name("plain"), ()) for _ in range(count))
    began = time.monotonic()
    await in_turns(AT_ONCE, (client.create(path, body) for body in bodies))
    return count / (time.monotonic() - began)


async def shared(stage: Stage, client: KubeClient) -> None:
    """Create what a fleet's servers share: to keep a Service's endpoints takes Kubernetes much."""
    for one in _plain(stage).shared:
        path = object_path(one.manifest["apiVersion"], one.plural, stage.namespace)
        await client.create(path, one.manifest)


async def filled(fleet: AsyncFleet, count: int) -> float:
    """Start a fleet that keeps so many; return how many a second were created."""
    began = time.monotonic()
    await fleet.start()
    async with asyncio.timeout(_PATIENCE):
        while fleet.tally.read().created.get(Purpose.READY, 0) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return count / (time.monotonic() - began)


async def filling(stage: Stage, client: KubeClient, size: Size) -> Line:
    """Fill a fleet, and create as many plain Pods, in turns."""
    rates: dict[str, list[float]] = {"plain": [], "tender": []}
    for _ in range(size.rounds):
        for who in random.sample(sorted(rates), 2):  # the first meets a fresher server
            if who == "plain":
                rates[who].append(await plainly(stage, client, size.fill))
                await emptied(stage, client, f"{FLEET}=plain")
            else:
                name = new_server_name("fill")  # a new fleet each time
                fleet = _keeping(stage, name, size.fill)
                rates[who].append(await filled(fleet, size.fill))
                await fleet.stop()
                await emptied(stage, client, f"{FLEET}={name}")
    middle = {who: statistics.median(values) for who, values in rates.items()}
    return Line(f"filling {size.fill}", middle["tender"], middle["plain"], "/s", 0.9, at_least=True)


async def emptied(stage: Stage, client: KubeClient, selector: str) -> None:
    """Delete what a round has made, and wait until it is gone."""
    async with asyncio.timeout(_PATIENCE):
        while left := [pod async for pod in stage.shown(client, selector)]:
            paths = (pods(stage.namespace, name_of(pod)) for pod in left)
            await in_turns(32, (client.delete(path, uid=None, grace=0) for path in paths))
            await asyncio.sleep(1)


def _keeping(stage: Stage, name: str, count: int) -> AsyncFleet:
    fleet = stage.fleet(name)
    fleet.spec = evolve(fleet.spec, ready=count)
    return fleet


async def tended(stage: Stage, size: Size) -> list[Line]:
    """Tend a large fleet while matches begin and end; return what that takes."""
    fleet = _keeping(stage, "large", size.tended)
    rate = await filled(fleet, size.tended)
    async with asyncio.timeout(_PATIENCE):
        while fleet.statuses()[0].servers[ServerState.READY] < size.tended:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    gc.collect()
    before, used, began = resident(), time.process_time(), time.monotonic()
    matches = 0
    while time.monotonic() < began + size.seconds:
        await (await fleet.allocate()).release()
        matches += 1
        await asyncio.sleep(max(0.0, began + matches / size.rate - time.monotonic()))
    share = (time.process_time() - used) / (time.monotonic() - began)
    gc.collect()
    grown = resident() - before
    await fleet.stop()
    return [
        Line(f"filling {size.tended}", rate, None, "/s"),
        Line(f"tending {size.tended}, CPU", share * 100, None, "%"),
        Line("memory, grown meanwhile", grown / 2**20, None, "MB"),
    ]


async def measure(kubeconfig: Path, size: Size) -> list[Line]:
    """Return the table's lines."""
    client = KubeClient(Cluster(kubeconfig=kubeconfig))
    try:
        async with namespace(client) as place:
            stage = Stage(kubeconfig, place, await played(client, _NODES))
            await shared(stage, client)
            await plainly(stage, client, 2 * AT_ONCE)  # connections are opened
            return [await filling(stage, client, size), *await tended(stage, size)]
    finally:
        await client.close()


def main(arguments: list[str] | None = None) -> None:
    """Run on the test cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it runs")
    parser.add_argument("--json", type=Path, help="write the figures there")
    chosen = parser.parse_args(arguments)
    with crowded(_NODES) as kubeconfig:
        lines = asyncio.run(measure(kubeconfig, QUICK if chosen.quick else Size()))
    report(lines)
    if chosen.json:
        write(lines, chosen.json)


if __name__ == "__main__":
    main()
