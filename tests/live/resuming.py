"""Clients that allocate without end while things go wrong, and how long it takes until they can."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

from attrs import define, field, frozen

from podfleet import AsyncFleet, HeadlessDNS, PodfleetError
from podfleet.model.names import STATE
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, template

__all__ = ["Resumed", "resuming"]

_READY = 12
"""Free servers that are kept."""
_CLIENTS = 3
_HOLD = 0.15  # seconds that a client keeps a server
_TIMEOUT = 20.0  # seconds for an allocation
_PATIENCE = 150.0  # seconds until all has resumed: a half-open watch counts as dead after 90
_LOOK = 0.005  # seconds
_MARK = "marked-by"


@frozen
class Resumed:
    """How long it took after a fault.

    Args:
        allocation: Seconds until each client had a server again.
        watch: Seconds until each client had seen what was written after the fault.
        errors: What the clients were told meanwhile.
    """

    allocation: float
    watch: float
    errors: Counter[str]


@define(eq=False)
class _Client:
    """One who allocates, keeps the server for a moment, and releases it."""

    fleet: AsyncFleet
    name: str
    good: list[float] = field(factory=list)
    held: list[tuple[str, float, float]] = field(factory=list)
    errors: Counter[str] = field(factory=Counter)
    over: bool = False

    async def run(self) -> None:
        number = 0
        while not self.over:
            number += 1
            session = f"{self.name}-{number}" if number % 2 else None
            server = await self._insist(partial(self.fleet.allocate, session, timeout=_TIMEOUT))
            began = time.monotonic()
            self.good.append(began)
            await asyncio.sleep(_HOLD)
            self.held.append((server.uid, began, time.monotonic()))
            await self._insist(server.release)

    async def _insist(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Call again until it goes well, as a backend would; a session's server is the same."""
        while True:
            try:
                return await call()
            except PodfleetError as error:
                self.errors[type(error).__name__] += 1
                await asyncio.sleep(_LOOK)


@asynccontextmanager
async def _clients(backend: Backend, crowd: dict[str, Any]) -> AsyncIterator[list[_Client]]:
    shape = template(backend, **crowd)
    clients = [
        _Client(
            make(AsyncFleet, backend, template=shape, exposure=HeadlessDNS(), ready=_READY),
            f"client-{number}",
        )
        for number in range(_CLIENTS)
    ]
    try:
        for client in clients:
            await client.fleet.start()
        yield clients
    finally:
        for client in clients:
            await client.fleet.stop()


async def resuming(
    backend: Backend, crowd: dict[str, Any], fault: Callable[[], Awaitable[None]]
) -> Resumed:
    """Cause a fault under load; return how long it took until all went on.

    Args:
        backend: The clients'.
        crowd: What the servers' template says besides.
        fault: Returns when the fault is over.
    """
    async with _clients(backend, crowd) as clients:
        marked = await clients[0].fleet.allocate("marked", timeout=120)
        playing = [asyncio.create_task(client.run()) for client in clients]
        await _until(lambda: all(len(client.good) >= 5 for client in clients), playing)
        for client in clients:
            client.errors.clear()

        await fault()
        over = time.monotonic()
        path = f"/api/v1/namespaces/{backend.namespace}/pods/{marked.name}"
        await asyncio.to_thread(_write, backend, path)
        seen: dict[str, float] = {}

        async def all_seen() -> bool:
            for client in clients:
                if (
                    client.name not in seen
                    and _MARK in (await client.fleet.get(marked.name)).labels
                ):
                    seen[client.name] = time.monotonic() - over
            return len(seen) == len(clients)

        while not await all_seen():
            assert time.monotonic() < over + _PATIENCE, f"only {seen} saw what was written"
            await asyncio.sleep(_LOOK)
        await _until(lambda: all(client.good[-1] > over for client in clients), playing)
        allocation = max(next(at for at in client.good if at > over) - over for client in clients)
        errors = sum((client.errors for client in clients), Counter[str]())
        count = len(clients[0].good)
        await _until(lambda: len(clients[0].good) > count + 5, playing)
        for client in clients:
            client.over = True
        await asyncio.gather(*playing)
        _check([one for client in clients for one in client.held])
        await asyncio.to_thread(_settled, backend)
    return Resumed(allocation, max(seen.values()), errors)


def _write(backend: Backend, path: str) -> None:
    """Write what the clients are to see: as soon as the API server takes it."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            backend.cluster.label(path, _MARK, "the-administrator")
            return
        except PodfleetError:
            assert time.monotonic() < deadline, "the API server does not come back"


def _settled(backend: Backend) -> None:
    """Return when there is nothing but free servers, and the marked one."""

    def states() -> list[str]:
        living = [pod for pod in backend.pods() if not pod["metadata"].get("deletionTimestamp")]
        return sorted(pod["metadata"]["labels"][STATE] for pod in living)

    eventually(lambda: states() == ["allocated"] + ["unclaimed"] * _READY, 60)


async def _until(condition: Callable[[], bool], playing: list[asyncio.Task[None]]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        for task in playing:
            if task.done():
                task.result()
        assert time.monotonic() < deadline, "the clients do not go on"
        await asyncio.sleep(_LOOK)


def _check(held: list[tuple[str, float, float]]) -> None:
    """No server was two clients' at a time."""
    by_server: dict[str, list[tuple[float, float]]] = {}
    for uid, since, until in held:
        by_server.setdefault(uid, []).append((since, until))
    for turns in by_server.values():
        assert all(one[1] <= other[0] for one, other in pairwise(sorted(turns)))
