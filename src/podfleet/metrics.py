"""Metrics for Prometheus: how fleets do, as this process sees it. Needs `podfleet[metrics]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.core import Metric as Family
    from prometheus_client.utils import floatToGoString
except ImportError as error:
    raise ImportError(
        "podfleet.metrics needs prometheus_client: pip install 'podfleet[metrics]'"
    ) from error

from podfleet.errors import ConfigurationError
from podfleet.fleet import AsyncFleet
from podfleet.fleet.tally import SECONDS, Counts, Purpose, Removal, Result
from podfleet.model import FleetStatus, ServerState
from podfleet.sync import Fleet

__all__ = ["Metrics"]

_BOUNDS = (*map(floatToGoString, SECONDS), "+Inf")


class Metrics:
    """Shows fleets to Prometheus: a collector of ``prometheus_client``.

    Each scrape reads what the fleets already keep in memory: it asks nobody, waits for nothing,
    and starts no fleet. What is counted is what this process did; the gauges say what its watch
    shows, as long as the fleet runs.

    Args:
        registry: Where it is registered; by default the registry that ``prometheus_client``
            serves. ``None`` for nowhere.

    Raises:
        ValueError: The registry has these metrics already: one for all fleets is enough.

    Example:
        >>> from prometheus_client import CollectorRegistry, generate_latest
        >>> from podfleet import Fleet, GameServerTemplate, HeadlessDNS, Port
        >>> shape = GameServerTemplate(
        ...     image="ghcr.io/acme/arena:1.4", ports=[Port("game", 7777, "UDP")]
        ... )
        >>> registry = CollectorRegistry()
        >>> metrics = Metrics(registry)
        >>> metrics.watch(Fleet("arena", template=shape, exposure=HeadlessDNS()))
        >>> b"podfleet_servers gauge" in generate_latest(registry)
        True
    """

    def __init__(self, registry: CollectorRegistry | None = REGISTRY) -> None:
        self._fleets: dict[str, Fleet | AsyncFleet] = {}
        if registry is not None:
            registry.register(self)

    def watch(self, fleet: Fleet | AsyncFleet) -> None:
        """Show a fleet from now on; it need not have been started. Twice is once.

        Args:
            fleet: The fleet. Of a group, each of its fleets.

        Raises:
            ConfigurationError: It is no fleet, or another one of its name is shown.
        """
        if not isinstance(fleet, Fleet | AsyncFleet):
            raise ConfigurationError("fleet", fleet, "must be a Fleet or an AsyncFleet")
        if self._fleets.setdefault(fleet.name, fleet) is not fleet:
            raise ConfigurationError(
                "fleet",
                fleet.name,
                "another fleet of this name is watched: unwatch that one first, or use another "
                "Metrics, with a registry of its own",
            )

    def unwatch(self, fleet: Fleet | AsyncFleet) -> None:
        """Show a fleet no more.

        Args:
            fleet: The fleet; one that is not shown is none.
        """
        if self._fleets.get(fleet.name) is fleet:
            del self._fleets[fleet.name]

    def describe(self) -> Iterator[Family]:
        """Yield the metrics without values: the registry looks for names that it has already."""
        yield from _Families().all

    def collect(self) -> Iterator[Family]:
        """Yield the metrics, for a scrape."""
        families = _Families()
        for name, fleet in dict(self._fleets).items():  # copied at once: threads may watch others
            own = fleet.own_if_any() if isinstance(fleet, Fleet) else fleet
            if own is None:
                continue
            statuses, counts = own.statuses(), own.tally.read()
            if statuses:
                families.tell_status(name, statuses)
            if statuses or counts:
                families.tell_counts(name, counts)
        yield from families.all


class _Families:
    """The metrics of one scrape."""

    def __init__(self) -> None:
        self.servers = GaugeMetricFamily(
            "podfleet_servers", "Servers in each state.", labels=["fleet", "state"]
        )
        self.waiting = GaugeMetricFamily(
            "podfleet_waiting_callers",
            "Callers of this process that wait for a server.",
            labels=["fleet"],
        )
        self.age = GaugeMetricFamily(
            "podfleet_watch_age_seconds",
            "Seconds since the API server was last heard.",
            labels=["fleet"],
        )
        self.synced = GaugeMetricFamily(
            "podfleet_synced",
            "Whether a whole list of the servers has been read: 1 or 0.",
            labels=["fleet"],
        )
        self.drained = GaugeMetricFamily(
            "podfleet_drained",
            "Whether the fleet is drained, as this process knows: 1 or 0.",
            labels=["fleet"],
        )
        self.allocations = CounterMetricFamily(
            "podfleet_allocations", "Calls of allocate that ended.", labels=["fleet", "result"]
        )
        self.seconds = HistogramMetricFamily(
            "podfleet_allocate_seconds",
            "Seconds that calls of allocate took that returned a server.",
            labels=["fleet", "warm"],
        )
        self.lost_races = CounterMetricFamily(
            "podfleet_lost_races", "Servers that another caller claimed first.", labels=["fleet"]
        )
        self.created = CounterMetricFamily(
            "podfleet_servers_created", "Servers created.", labels=["fleet", "for"]
        )
        self.removed = CounterMetricFamily(
            "podfleet_servers_removed",
            "Servers that the fleet removed by itself.",
            labels=["fleet", "why"],
        )

    @property
    def all(self) -> tuple[Family, ...]:
        """All of them."""
        return (
            *(self.servers, self.waiting, self.age, self.synced, self.drained),
            *(self.allocations, self.seconds, self.lost_races, self.created, self.removed),
        )

    def tell_status(self, name: str, statuses: Sequence[FleetStatus]) -> None:
        """Take in what one fleet sees; in several event loops each has a watch of its own."""
        freshest = min(statuses, key=lambda status: (not status.synced, status.age))
        for state in ServerState:
            self.servers.add_metric([name, state.value], freshest.servers[state])
        self.waiting.add_metric([name], sum(status.waiting for status in statuses))
        self.age.add_metric([name], max(status.age for status in statuses))
        self.synced.add_metric([name], all(status.synced for status in statuses))
        self.drained.add_metric([name], any(status.drained_since for status in statuses))

    def tell_counts(self, name: str, counts: Counts) -> None:
        """Take in what one fleet did. Zeros are told, too: a rate begins with one."""
        for result in Result:
            self.allocations.add_metric([name, result.value], counts.allocations.get(result, 0))
        for warm, label in ((True, "true"), (False, "false")):
            buckets = list(zip(_BOUNDS, accumulate(map(float, counts.buckets[warm])), strict=True))
            self.seconds.add_metric([name, label], buckets, counts.seconds[warm])
        self.lost_races.add_metric([name], counts.lost_races)
        for purpose in Purpose:
            self.created.add_metric([name, purpose.value], counts.created.get(purpose, 0))
        for removal in Removal:
            self.removed.add_metric([name, removal.value], counts.removed.get(removal, 0))
