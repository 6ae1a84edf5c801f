"""What a fleet's process serves over HTTP: Prometheus' metrics, and whether it is well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from podfleet.errors import ConfigurationError
from podfleet.fleet import AsyncFleet
from podfleet.metrics import Metrics  # says how to install prometheus_client
from podfleet.model import FleetStatus

__all__ = ["illness", "serving"]

_STALE = 120.0  # seconds: a quiet fleet is heard about once a minute


def illness(name: str, statuses: Sequence[FleetStatus]) -> str | None:
    """Return what is wrong with a fleet's view of the cluster, or ``None``.

    Args:
        name: The fleet's.
        statuses: Its status in each event loop in which it runs.
    """
    if not statuses or not all(status.synced for status in statuses):
        return f"fleet {name}: its servers have not been read yet"
    age = max(status.age for status in statuses)
    if age > _STALE:
        return f"fleet {name}: the API server has not been heard for {age:.0f} s"
    return None


@asynccontextmanager
async def serving(port: int, fleets: Sequence[AsyncFleet]) -> AsyncIterator[None]:
    """Serve ``/metrics`` and ``/healthz`` on all addresses, in this event loop.

    Args:
        port: The port.
        fleets: The fleets.

    Raises:
        ConfigurationError: The port is taken; or two fleets have one name.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for fleet in fleets:
        metrics.watch(fleet)

    async def shown(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def health(_: web.Request) -> web.Response:
        wrong = [ill for fleet in fleets if (ill := illness(fleet.name, fleet.statuses()))]
        return web.Response(status=503 if wrong else 200, text="\n".join(wrong or ["ok"]) + "\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", shown), web.get("/healthz", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, port=port, shutdown_timeout=1.0)
        try:
            await site.start()
        except OSError as error:
            words = error.strerror or str(error)
            raise ConfigurationError("--metrics-port", port, f"cannot be used: {words}") from error
        yield
    finally:
        await runner.cleanup()
