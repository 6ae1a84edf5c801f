"""Warm ``allocate`` beside one plain PATCH of a Pod, by the same transport on the same API server.

    python -m benchmarks.warm_allocate [--quick] [--json FILE] [--plot FILE]

Everything is measured in one run, in turns, so that what else the machine does meets all alike.
"""

import argparse
import asyncio
import gc
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.cores import apart
from benchmarks.figures import resident
from benchmarks.stage import PLAIN, Stage, crowded, namespace, played
from benchmarks.table import Line, report, write
from podfleet import AsyncFleet, Cluster, Fleet, HeadlessDNS
from podfleet.bench import in_turns, plain_patch, quantile
from podfleet.fleet.claiming.claim import UNTRACKED
from podfleet.fleet.pool.free import FreeServers, Wish
from podfleet.fleet.sighting import Sighting
from podfleet.kube import KubeClient, Reflector, Store
from podfleet.kube.paths import pods
from podfleet.model.manifest import name_of
from podfleet.model.names import REVISION
from tests.live.processes import at_once

_NODES = 50
_IN_FLIGHT = 32
_ROUNDS = 9
_PROCESSES = 4
_MEETINGS = 5


@frozen
class Size:
    """How much is measured.

    Args:
        small: Servers of the small fleet.
        middle: Of the one on which processes meet.
        large: Of the large one.
        tries: One at a time.
        rush: In flight together, in each round; so many Pods are of no fleet, each for one PATCH a
            round, as each server is for one claim. As many as the small fleet has are besides.
        together: Of all processes together, in each round.
        warming: Of each process before that: connections are opened, and replicas learn that there
            are others.
    """

    small: int = 100
    middle: int = 2000
    large: int = 10_000
    tries: int = 1000
    rush: int = 480
    together: int = 1440
    warming: int = 40


QUICK = Size(small=20, middle=60, large=100, tries=10, rush=40, together=40, warming=4)


class Plain:
    """Patches Pods of no fleet, as a claim does, one after the other.

    Args:
        stage: Where they are.
        client: The transport.
        numbers: Of the Pods.
        first: How many of these are passed over at first.
        clears: Whether managedFields are cleared, as by a claim: of Pods of their own, then.
    """

    def __init__(
        self,
        stage: Stage,
        client: KubeClient,
        numbers: range,
        first: int = 0,
        *,
        clears: bool = False,
    ) -> None:
        self._stage = stage
        self._client = client
        self._numbers = numbers
        self._turn = first
        self._more = [UNTRACKED] if clears else []

    async def patch(self) -> None:
        """Send one patch, of the size of a claim's."""
        self._turn += 1
        name = f"{PLAIN}-{self._numbers[self._turn % len(self._numbers)]}"
        patch = [*self._more, *plain_patch(name, datetime.now(UTC))]
        await self._client.patch(pods(self._stage.namespace, name), patch, lambda _: False)


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the seconds that it takes."""
    before = time.perf_counter()
    await work()
    return time.perf_counter() - before


async def one_at_a_time(stage: Stage, client: KubeClient, size: Size) -> list[Line]:
    """Measure one ``allocate`` after the other, of a small and a large fleet."""
    plain = Plain(stage, client, range(size.rush))
    cleared = Plain(stage, client, range(size.rush, size.rush + size.small), clears=True)
    names = ("PATCH", "clearing PATCH", "small", "large", "session")
    times: dict[str, list[float]] = {name: [] for name in names}
    taken = []

    async def allocate(fleet: AsyncFleet, session: str | None = None) -> None:
        taken.append((await fleet.allocate(session)).name)

    async with stage.fleet("small") as small, stage.fleet("large") as large:
        for turn in range(size.tries + 20):  # the first ones open connections
            steps: dict[str, Callable[[], Awaitable[Any]]] = {
                "PATCH": plain.patch,
                "clearing PATCH": cleared.patch,
                "small": partial(allocate, small),
                "large": partial(allocate, large),
                "session": partial(allocate, large, f"match {turn}"),
            }
            for name in random.sample(sorted(steps), len(steps)):
                seconds = await timed(steps[name])
                if turn >= 20:
                    times[name].append(seconds)
            while taken:
                await stage.free(client, taken.pop())
    sync = await asyncio.to_thread(_sync_cost, stage, size)
    await stage.reset(client, "large")
    base = {share: quantile(times["PATCH"], share) * 1000 for share in (0.5, 0.99)}

    def line(what: str, name: str, share: float, target: float | None = None) -> Line:
        return Line(what, quantile(times[name], share) * 1000, base[share], "ms", target)

    flat = statistics.median(times["small"]) * 1000
    return [
        line("allocate, p50", "large", 0.5, 1.15),
        line("allocate, p99", "large", 0.99, 1.5),
        line("allocate for a session, p50", "session", 0.5, 2.2),
        line("allocate for a session, p99", "session", 0.99, 3.3),
        Line(
            f"{size.large} ready against {size.small}, p50",
            statistics.median(times["large"]) * 1000,
            flat,
            "ms",
            1.1,
        ),
        line("PATCH clearing managedFields, p50", "clearing PATCH", 0.5),
        Line("sync face, p50 added", sync * 1000, None, "ms", 0.3),
    ]


def _sync_cost(stage: Stage, size: Size) -> float:
    """Return the seconds that the sync face adds: what it adds to a call that asks nobody."""
    settings: dict[str, Any] = {
        "template": stage.template,
        "exposure": HeadlessDNS(),
        "namespace": stage.namespace,
        "cluster": stage.cluster,
    }

    async def awaited() -> list[float]:
        async with AsyncFleet("small", **settings) as fleet:
            return [await timed(fleet.status) for _ in range(size.tries)]

    calls = []
    with Fleet("small", **settings) as fleet:
        for _ in range(size.tries):
            before = time.perf_counter()
            fleet.status()
            calls.append(time.perf_counter() - before)
    return statistics.median(calls) - statistics.median(asyncio.run(awaited()))


async def many_at_once(stage: Stage, client: KubeClient, size: Size) -> list[Line]:
    """Measure how many a second, from one process and from four."""
    lines = []
    async with stage.fleet("middle") as fleet:
        plain = Plain(stage, client, range(size.rush))
        await in_turns(_IN_FLIGHT, [plain.patch() for _ in range(2 * _IN_FLIGHT)])
        lines += await in_flight(stage, client, size, fleet, f"{_IN_FLIGHT} in flight")
        with apart():
            lines += await in_flight(stage, client, size, fleet, f"{_IN_FLIGHT} in flight, apart")
    plainly, together, doubles = [], [], 0
    for _ in range(_MEETINGS):
        told = await asyncio.to_thread(at_once, _PROCESSES, patch_many, stage, size)
        plainly.append(_rate(told, size))
        told = await asyncio.to_thread(at_once, _PROCESSES, allocate_many, stage, size)
        together.append(_rate(told, size))
        given = [name for one in told for name in one.names]
        doubles += len(given) - len(set(given))
        await stage.reset(client, "middle")
    return [
        *lines,
        Line(
            f"{_PROCESSES} processes, rate",
            statistics.median(together),
            statistics.median(plainly),
            "/s",
            0.8,
            at_least=True,
        ),
        Line(f"{_PROCESSES} processes, given twice", doubles, None, "servers", 0),
    ]


async def in_flight(
    stage: Stage, client: KubeClient, size: Size, fleet: AsyncFleet, what: str
) -> list[Line]:
    """Measure how many a second, of one process, with many in flight."""
    plain = Plain(stage, client, range(size.rush))
    steps: dict[str, Callable[[], Awaitable[Any]]] = {
        "PATCH": plain.patch,
        "watched PATCH": plain.patch,
        "allocate": fleet.allocate,
    }
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(_ROUNDS):
        for name in random.sample(sorted(steps), len(steps)):
            await asyncio.sleep(1)  # what came before is done, and the watch has shown it
            works = [steps[name]() for _ in range(size.rush)]
            async with watched(stage, client) if name == "watched PATCH" else nullcontext():
                seconds = await timed(partial(in_turns, _IN_FLIGHT, works))
            rates[name].append(len(works) / seconds)
        await stage.reset(client, "middle")
    middle = {name: statistics.median(values) for name, values in rates.items()}
    return [
        Line(f"{what}, rate", middle["allocate"], middle["PATCH"], "/s", 0.9, at_least=True),
        Line(f"{what}, watched PATCH", middle["watched PATCH"], middle["PATCH"], "/s"),
    ]


@asynccontextmanager
async def watched(stage: Stage, client: KubeClient) -> AsyncIterator[None]:
    """Watch the plain Pods, as a fleet does its own: what that alone costs the API server."""
    reflector = Reflector(client, pods(stage.namespace), {"labelSelector": f"{PLAIN}=true"})
    reflector.start()
    try:
        await reflector.wait_synced(30)
        yield
    finally:
        await reflector.stop()


@frozen
class Told:
    """What a process tells of itself.

    Args:
        began: When it began, by the clock that all share.
        ended: When it ended.
        names: The servers that it was given, also before that.
    """

    began: float
    ended: float
    names: list[str]


def _rate(told: list[Told], size: Size) -> float:
    return size.together / (max(one.ended for one in told) - min(one.began for one in told))


async def _together(
    meet: Callable[[], None], size: Size, call: Callable[[], Awaitable[Any]]
) -> tuple[float, float, list[Any]]:
    """Make the calls of one process; return when they began and ended, and what they returned."""
    results = []
    for count in (size.warming, size.together // _PROCESSES):
        meet()
        began = time.monotonic()
        results += await in_turns(_IN_FLIGHT // _PROCESSES, [call() for _ in range(count)])
    return began, time.monotonic(), results


def patch_many(number: int, meet: Callable[[], None], stage: Stage, size: Size) -> Told:
    """Be a process that patches Pods, and begins with its own."""

    async def run() -> Told:
        async with aclosing(_Closing(KubeClient(stage.cluster))) as client:
            first = number * size.rush // _PROCESSES
            plain = Plain(stage, client.client, range(size.rush), first)
            began, ended, _ = await _together(meet, size, plain.patch)
            return Told(began, ended, [])

    return asyncio.run(run())


def allocate_many(_: int, meet: Callable[[], None], stage: Stage, size: Size) -> Told:
    """Be a process that allocates."""

    async def run() -> Told:
        async with stage.fleet("middle") as fleet:
            began, ended, servers = await _together(meet, size, fleet.allocate)
            return Told(began, ended, [server.name for server in servers])

    return asyncio.run(run())


@frozen
class _Closing:
    client: KubeClient

    async def aclose(self) -> None:
        await self.client.close()


def choosing(size: Size) -> list[Line]:
    """Measure the choice alone, in memory."""
    spent = {}
    for count in (size.small, size.large):
        store = Store()
        free = FreeServers(store, "r", "packed")
        for number in range(count):
            pod = _ready(number)
            store.observe(pod)
            free.follow(Sighting(name_of(pod), pod))
        before = time.perf_counter()
        for _ in range(size.small):
            assert free.take(Wish()) is not None
        spent[count] = (time.perf_counter() - before) / size.small * 1e6
    return [Line(f"choosing from {count}", value, None, "us") for count, value in spent.items()]


def _ready(number: int) -> dict[str, Any]:
    labels = {REVISION: "r", "podfleet.dev/state": "unclaimed"}
    return {
        "metadata": {"name": f"arena-{number}", "uid": str(number), "labels": labels,
                     "resourceVersion": str(number + 1)},
        "spec": {"nodeName": f"node-{number % _NODES}", "containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }  # fmt: skip


def start_large(_: int, meet: Callable[[], None], stage: Stage, size: Size) -> dict[str, float]:
    """Be a process that starts on the large fleet, with nothing else in its memory."""

    async def run() -> dict[str, float]:
        meet()
        client = KubeClient(stage.cluster)
        query = {"labelSelector": "podfleet.dev/fleet=large"}

        async def pages() -> None:
            asked = {**query, "limit": "500"}
            while True:
                page = await client.get(pods(stage.namespace), asked)
                if not page["metadata"].get("continue"):
                    return
                asked["continue"] = page["metadata"]["continue"]

        fleet = stage.fleet("large")
        await client.connect()
        gc.collect()
        empty = resident()
        started = await timed(fleet.allocate)
        gc.collect()
        full = resident()
        listed = await timed(pages)
        await fleet.stop()
        await client.close()
        return {"start": started, "list": listed, "memory": (full - empty) / size.large / 1024}

    return asyncio.run(run())


async def starting(stage: Stage, client: KubeClient, size: Size) -> list[Line]:
    """Measure the start on a large fleet, and what it keeps in memory."""
    told = []
    for _ in range(3):
        told += await asyncio.to_thread(at_once, 1, start_large, stage, size)
    await stage.reset(client, "large")
    middle = {key: statistics.median(one[key] for one in told) for key in told[0]}
    return [
        Line(f"start with {size.large}, first allocate", middle["start"], middle["list"], "s", 1.5),
        Line("memory a watched server", middle["memory"], None, "KB", 4.0),
    ]


async def measure(kubeconfig: Path, size: Size) -> list[Line]:
    """Return the table's lines."""
    client = KubeClient(Cluster(kubeconfig=kubeconfig))
    try:
        async with namespace(client) as place:
            stage = Stage(kubeconfig, place, await played(client, _NODES))
            await stage.plain(client, size.rush + size.small)
            await stage.until_ready(client, f"{PLAIN}=true", size.rush + size.small)
            for fleet in ("small", "middle", "large"):
                count = getattr(size, fleet)
                await stage.fill(client, fleet, count)
                await stage.until_ready(client, f"podfleet.dev/fleet={fleet}", count)
            return [
                *await one_at_a_time(stage, client, size),
                *await many_at_once(stage, client, size),
                *choosing(size),
                *await starting(stage, client, size),
            ]
    finally:
        await client.close()


def plot(lines: list[Line], file: Path) -> None:
    """Draw the ratios: needs the extra ``plots``."""
    plt = import_module("matplotlib.pyplot")  # an extra

    drawn = [line for line in lines if line.base is not None]
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(drawn) + 1))
    axes.barh([line.what for line in drawn], [line.ratio for line in drawn])
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlabel("x the raw API call")
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(file)


def main(arguments: list[str] | None = None) -> None:
    """Run on the test cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it runs")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--plot", type=Path, help="draw the ratios there: needs podfleet[plots]")
    chosen = parser.parse_args(arguments)
    size = QUICK if chosen.quick else Size()
    with crowded(_NODES) as kubeconfig:
        lines = asyncio.run(measure(kubeconfig, size))
    report(lines)
    if chosen.json:
        write(lines, chosen.json)
    if chosen.plot:
        plot(lines, chosen.plot)


if __name__ == "__main__":
    main()
