"""What spans and the log cost an ``allocate``, warm, one at a time, on the test cluster.

    python -m benchmarks.observability [--quick] [--json FILE]

Calls with everything on and calls with everything off take turns in one run, a few at a time: a
change costs the interpreter what it had learned, as no backend's life does. The cluster has cores
of its own. Everything: spans by OpenTelemetry's SDK, in batches to nowhere; the log at INFO,
written to nowhere; metrics are counted either way, and are timed alone.
"""

import argparse
import asyncio
import logging
import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.cores import apart
from benchmarks.stage import Stage, crowded, namespace, played
from benchmarks.table import Line, report, write
from podfleet import AsyncFleet, Cluster
from podfleet.fleet.tally import Attempt, Tally
from podfleet.kube import KubeClient
from podfleet.tracing import instrument, uninstrument

_NODES = 10
_SERVERS = 20
_TURNS = 400  # what the API server takes for a call differs: it evens out over thousands
_CALLS = 8  # in a turn, besides the first one
QUICK = 2
_COUNTED = 100_000


class _Nowhere(SpanExporter):
    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@contextmanager
def observed(provider: TracerProvider, handler: logging.Handler) -> Iterator[None]:
    """Have spans made and the log written, for as long as the block lasts."""
    log = logging.getLogger("podfleet")
    instrument(provider)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        uninstrument()
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)


async def in_turns(
    stage: Stage, client: KubeClient, fleet: AsyncFleet, turns: int
) -> tuple[dict[bool, list[float]], dict[bool, list[float]]]:
    """Return the seconds of each call, and this process's CPU seconds meanwhile, on and off."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    busy: dict[bool, list[float]] = {True: [], False: []}
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    with Path(os.devnull).open("w") as nowhere:  # noqa: ASYNC230  (it blocks nobody)
        handler = logging.StreamHandler(nowhere)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s %(podfleet_server)s"))
        for _ in range(turns):
            for on in random.sample((True, False), 2):  # what comes in a rhythm meets both
                with observed(provider, handler) if on else nullcontext():
                    await fleet.allocate()
                    for _ in range(_CALLS):
                        taken, used = await _one(fleet)
                        seconds[on].append(taken)
                        busy[on].append(used)
                for server in await fleet.servers("allocated"):
                    await stage.free(client, server.name)
    provider.shutdown()
    return seconds, busy


async def _one(fleet: AsyncFleet) -> tuple[float, float]:
    began, used = time.perf_counter(), time.process_time()
    await fleet.allocate()
    return time.perf_counter() - began, time.process_time() - used


def counting() -> float:
    """Return the seconds that counting one call takes."""
    tally = Tally()
    began = time.perf_counter()
    for _ in range(_COUNTED):
        with Attempt(tally):
            pass
    return (time.perf_counter() - began) / _COUNTED


async def measure(kubeconfig: Path, turns: int) -> list[Line]:
    """Return the table's lines."""
    client = KubeClient(Cluster(kubeconfig=kubeconfig))
    try:
        async with namespace(client) as place:
            stage = Stage(kubeconfig, place, await played(client, _NODES))
            await stage.fill(client, "small", _SERVERS)
            await stage.until_ready(client, "podfleet.dev/fleet=small", _SERVERS)
            async with stage.fleet("small") as fleet:
                with apart():
                    seconds, busy = await in_turns(stage, client, fleet, turns)
    finally:
        await client.close()
    middle = {on: statistics.median(times) * 1000 for on, times in seconds.items()}
    cpu = {on: statistics.median(times) * 1000 for on, times in busy.items()}
    counted = counting() * 1000
    return [
        Line("allocate, p50", middle[True] + counted, middle[False], "ms", 1.03),
        Line("its CPU, p50", cpu[True], cpu[False], "ms"),
        Line("counting it", counted * 1000, None, "us"),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run on the test cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it runs")
    parser.add_argument("--json", type=Path, help="write the figures there")
    chosen = parser.parse_args(arguments)
    with crowded(_NODES) as kubeconfig:
        lines = asyncio.run(measure(kubeconfig, QUICK if chosen.quick else _TURNS))
    report(lines)
    if chosen.json:
        write(lines, chosen.json)


if __name__ == "__main__":
    main()
