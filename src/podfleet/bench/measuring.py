"""`measure`: warm allocations, beside as many plain PATCHes of Pods in the same run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

from attrs import frozen

from podfleet.bench.figures import Comparison, Figures
from podfleet.bench.pods import Unexposed, plain_patch
from podfleet.bench.servers import Servers
from podfleet.bench.turns import in_turns
from podfleet.chance import CHANCE
from podfleet.errors import WaitTimeout
from podfleet.fleet import AsyncFleet
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import KubeClient
from podfleet.kube.paths import pods
from podfleet.model import ServerState

__all__ = ["Plan", "measure", "rehearsal"]

_FREED_WITHIN = 30.0  # seconds, until the watch has shown it
_PAUSE = 0.005  # seconds between two looks into memory


@frozen(kw_only=True)
class Plan:
    """How much is measured.

    Args:
        count: Allocations.
        in_flight: How many at once.
        servers: Warm servers, which are allocated again and again; and Pods that are patched.
        timeout: Seconds for them to become ready.
    """

    count: int
    in_flight: int
    servers: int
    timeout: float


class _Times:
    """What calls took, over several rounds."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._elapsed = 0.0

    async def take(self, in_flight: int, calls: Iterator[Awaitable[Any]]) -> list[Any]:
        """Make the calls; return what they returned."""
        began = time.perf_counter()
        results = await in_turns(in_flight, (self._timed(call) for call in calls))
        self._elapsed += time.perf_counter() - began
        return results

    async def _timed(self, call: Awaitable[Any]) -> Any:
        began = time.perf_counter()
        result = await call
        self._seconds.append(time.perf_counter() - began)
        return result

    @property
    def figures(self) -> Figures:
        return Figures(tuple(self._seconds), self._elapsed)


def rehearsal(spec: FleetSpec) -> AsyncFleet:
    """Return the benchmark's fleet: of the same template, but nobody can dial its servers."""
    return AsyncFleet(
        f"{spec.name}-bench",
        template=spec.template,
        exposure=Unexposed(),
        namespace=spec.namespace,
        cluster=spec.cluster,
        packing=spec.packing,
    )


async def measure(spec: FleetSpec, plan: Plan, tell: Callable[[str], None]) -> Comparison:
    """Measure, and leave nothing.

    Args:
        spec: The user's fleet.
        plan: How much.
        tell: Called with a line about what is done next.

    Raises:
        PodfleetError: It cannot be measured. What was made is deleted.
    """
    fleet = rehearsal(spec)
    client = KubeClient(spec.cluster)
    try:
        place = spec.namespace or (await client.connect()).namespace
        servers = Servers(client, place, fleet.spec)
        tell(
            f"making {2 * plan.servers} Pods of the template of fleet {spec.name} in namespace "
            f"{place}: {plan.servers} servers of fleet {fleet.name}, which are allocated "
            f"{plan.count} times, and as many of no fleet, which are patched. They are deleted at "
            "the end, and after Ctrl-C"
        )
        try:
            await servers.make(plan.servers)
            await servers.until_ready(plan.timeout)
            async with fleet:
                return await _compare(fleet, servers, plan, tell)
        finally:
            tell("deleting the Pods")
            await servers.remove()
    finally:
        await client.close()


async def _compare(
    fleet: AsyncFleet, servers: Servers, plan: Plan, tell: Callable[[str], None]
) -> Comparison:
    patch, allocate = _Times(), _Times()
    plain = cycle(servers.plain)

    async def patch_some(times: _Times, count: int) -> None:
        await times.take(plan.in_flight, (_patch(servers, next(plain)) for _ in range(count)))

    async def allocate_some(times: _Times, count: int) -> None:
        await _until_free(fleet, plan.servers)
        taken = await times.take(plan.in_flight, (fleet.allocate() for _ in range(count)))
        names = [server.name for server in taken]
        servers.names.update(names)  # one that died was replaced
        await in_turns(plan.in_flight, (servers.free(name) for name in names))

    for step in (patch_some, allocate_some):  # connections are opened; that is not counted
        await step(_Times(), plan.servers)
    done = 0
    while done < plan.count:
        count = min(plan.servers, plan.count - done)
        for step, times in CHANCE.sample([(patch_some, patch), (allocate_some, allocate)], 2):
            await step(times, count)
        before, done = done, done + count
        if done * 4 // plan.count > before * 4 // plan.count:
            tell(f"{done} of {plan.count} allocations")
    return Comparison(patch.figures, allocate.figures)


async def _patch(servers: Servers, name: str) -> None:
    patch = plain_patch(name, datetime.now(UTC))
    await servers.client.patch(pods(servers.namespace, name), patch, lambda _: False)


async def _until_free(fleet: AsyncFleet, count: int) -> None:
    """Return when all servers are free, as the fleet sees it."""
    deadline = time.monotonic() + _FREED_WITHIN
    while (free := (await fleet.status()).servers[ServerState.READY]) < count:
        if time.monotonic() > deadline:
            raise WaitTimeout(
                f"fleet {fleet.name}: {free} of {count} servers are ready after "
                f"{_FREED_WITHIN:g} s: look at them with podfleet ls {fleet.name}"
            )
        await asyncio.sleep(_PAUSE)
