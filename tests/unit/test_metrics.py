"""What is counted, under which names, and what of it Prometheus is shown."""

import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry, generate_latest

from podfleet import (
    AllocationError,
    AllocationTimeout,
    AsyncFleet,
    ConfigurationError,
    Contended,
    Diagnosis,
    Exhausted,
    Fleet,
    Forbidden,
    GameServerTemplate,
    HeadlessDNS,
    Port,
    PortPoolExhausted,
    ServerFailed,
    TransportError,
    Verdict,
)
from podfleet.fleet.tally import SECONDS, Attempt, Purpose, Removal, Result, Tally
from podfleet.metrics import Metrics

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana" / "podfleet.json"
PAGE = DASHBOARD.parents[1] / "metrics.md"

MISSING = object()
BROKEN = Diagnosis(verdict=Verdict.FAILED, reason="InvalidImageName", summary="no such image")


def make(name: str = "arena", face: type[Fleet] | type[AsyncFleet] = Fleet) -> Fleet | AsyncFleet:
    shape = GameServerTemplate(image="ghcr.io/acme/arena:1.4", ports=[Port("game", 7777, "UDP")])
    return face(name, template=shape, exposure=HeadlessDNS())


def tally_of(fleet: Fleet | AsyncFleet) -> Tally:
    return (fleet.own() if isinstance(fleet, Fleet) else fleet).tally


def watched(*fleets: Fleet | AsyncFleet) -> CollectorRegistry:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for fleet in fleets:
        metrics.watch(fleet)
    return registry


def names(registry: CollectorRegistry) -> set[str]:
    return {sample.name for family in registry.collect() for sample in family.samples}


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, "ok"),
        (AllocationTimeout("late"), "timeout"),
        (Exhausted("full"), "exhausted"),
        (PortPoolExhausted("full", asked=1, free=0, held_by={}), "exhausted"),
        (Contended("slow"), "contended"),
        (ServerFailed("broken", diagnosis=BROKEN), "failed"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (AllocationError("stopped"), "error"),
        (Forbidden("no", status=403), "error"),
        (TransportError("gone"), "error"),
        (RuntimeError("a bug"), "error"),
    ],
)
def test_each_error_is_a_result(error: BaseException | None, result: str) -> None:
    fleet = make()
    if error is None:
        with Attempt(tally_of(fleet)):
            pass
    else:
        with pytest.raises(type(error)), Attempt(tally_of(fleet)):
            raise error
    registry = watched(fleet)
    for one in Result:
        labels = {"fleet": "arena", "result": one.value}
        count = registry.get_sample_value("podfleet_allocations_total", labels)
        assert count == (one.value == result)
    took = registry.get_sample_value(
        "podfleet_allocate_seconds_count", {"fleet": "arena", "warm": "true"}
    )
    assert took == (error is None)


@pytest.mark.parametrize(
    ("seconds", "first"),
    [
        (0.0, "0.001"),
        (0.001, "0.001"),  # a bound belongs to its own bucket
        (0.00101, "0.0025"),
        (1.0, "1.0"),
        (119.9, "120.0"),
        (120.0, "120.0"),
        (120.1, "+Inf"),
    ],
)
def test_a_time_is_in_its_bucket_and_in_all_above(seconds: float, first: str) -> None:
    fleet = make()
    tally_of(fleet).allocated(seconds, warm=False)
    registry = watched(fleet)
    cold = {"fleet": "arena", "warm": "false"}
    bounds = [*map(str, SECONDS), "+Inf"]
    counts = [
        registry.get_sample_value("podfleet_allocate_seconds_bucket", {**cold, "le": bound})
        for bound in bounds
    ]
    at = bounds.index(first)
    assert counts == [0.0] * at + [1.0] * (len(bounds) - at)
    assert registry.get_sample_value("podfleet_allocate_seconds_sum", cold) == seconds
    warm = {"fleet": "arena", "warm": "true"}
    assert registry.get_sample_value("podfleet_allocate_seconds_count", warm) == 0


def test_created_removed_and_lost_races_are_counted() -> None:
    fleet = make()
    tally = tally_of(fleet)
    tally.created(Purpose.READY)
    tally.removed(Removal.ORPHAN)
    tally.lost_race()
    text = generate_latest(watched(fleet)).decode()
    assert 'podfleet_servers_created_total{fleet="arena",for="ready"} 1.0' in text
    assert 'podfleet_servers_created_total{fleet="arena",for="allocate"} 0.0' in text
    assert 'podfleet_servers_removed_total{fleet="arena",why="orphan"} 1.0' in text
    assert 'podfleet_lost_races_total{fleet="arena"} 1.0' in text


def test_nothing_is_lost_between_threads() -> None:
    fleet = make()
    registry = watched(fleet)

    def count() -> None:
        for _ in range(2000):
            tally_of(fleet).allocated(0.002, warm=True)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        shown = {
            sample.name: sample.value
            for family in registry.collect()
            for sample in family.samples
            if "true" in sample.labels.values()
        }
        if shown:
            total = shown["podfleet_allocate_seconds_count"]
            assert shown["podfleet_allocate_seconds_sum"] == pytest.approx(0.002 * total)
    labels = {"fleet": "arena", "result": "ok"}
    assert registry.get_sample_value("podfleet_allocations_total", labels) == 8000


@pytest.mark.parametrize("face", [Fleet, AsyncFleet])
def test_nothing_is_said_of_a_fleet_that_does_not_run(
    face: type[Fleet] | type[AsyncFleet],
) -> None:
    fleet = make(face=face)
    registry = watched(fleet)
    assert names(registry) == set()
    tally_of(fleet).lost_race()  # of what it did, and still no gauge
    said = names(registry)
    assert "podfleet_lost_races_total" in said
    assert said & {"podfleet_servers", "podfleet_synced", "podfleet_waiting_callers"} == set()


def test_a_fleet_is_watched_once_and_another_of_its_name_is_refused() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    fleet, other, namesake = make(), make("lobby"), make()
    for one in (fleet, fleet, other):
        metrics.watch(one)
        tally_of(one).lost_race()
    with pytest.raises(ConfigurationError, match="another fleet of this name is watched"):
        metrics.watch(namesake)
    lost = "podfleet_lost_races_total"
    assert registry.get_sample_value(lost, {"fleet": "arena"}) == 2
    assert registry.get_sample_value(lost, {"fleet": "lobby"}) == 1
    metrics.unwatch(namesake)  # it was not
    metrics.unwatch(fleet)
    assert registry.get_sample_value(lost, {"fleet": "arena"}) is None
    metrics.watch(namesake)
    with pytest.raises(ConfigurationError, match="must be a Fleet or an AsyncFleet"):
        metrics.watch("arena")  # type: ignore[arg-type]


def test_a_registry_takes_one_metrics_and_none_is_needed() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    with pytest.raises(ValueError, match="podfleet_servers"):
        Metrics(registry)
    assert {family.name for family in Metrics(None).collect()} == families()


def families() -> set[str]:
    return {family.name for family in Metrics(None).describe()}


def exported() -> set[str]:
    """Return the names of the series, as a query names them."""
    fleet = make()
    tally_of(fleet).lost_race()
    counted = names(watched(fleet))
    gauges = {family.name for family in Metrics(None).describe() if family.type == "gauge"}
    return counted | gauges


def test_names_are_told_as_prometheus_wants_them() -> None:
    assert exported() == {
        "podfleet_servers",
        "podfleet_waiting_callers",
        "podfleet_watch_age_seconds",
        "podfleet_synced",
        "podfleet_drained",
        "podfleet_allocations_total",
        "podfleet_allocate_seconds_bucket",
        "podfleet_allocate_seconds_count",
        "podfleet_allocate_seconds_sum",
        "podfleet_lost_races_total",
        "podfleet_servers_created_total",
        "podfleet_servers_removed_total",
    }


def test_the_page_lists_every_metric_and_every_label_value() -> None:
    text = PAGE.read_text()
    listed = set(re.findall(r"^\| `(podfleet_\w+)` \|", text, re.MULTILINE))
    assert {re.sub("_total$", "", name) for name in listed} == families()
    for value in (*Result, *Purpose, *Removal):
        assert f"`{value.value}`" in text


def dashboard() -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return shown


def test_the_dashboard_asks_only_for_what_there_is_and_for_all_of_it() -> None:
    whole = dashboard()
    queries = [target["expr"] for panel in whole["panels"] for target in panel["targets"]]
    variables = [variable["definition"] for variable in whole["templating"]["list"]]
    asked = set(re.findall(r"podfleet_\w+", " ".join(queries + variables)))
    assert asked <= exported()
    unasked = exported() - asked
    assert unasked == {"podfleet_allocate_seconds_count", "podfleet_allocate_seconds_sum"}
    for query in queries:
        assert query.count("(") == query.count(")")
        assert 'fleet=~"$fleet"' in query


def unread(shown: Any, read: Any, path: str = "") -> set[str]:
    """Return the paths of what is in the first alone, or another there."""
    if isinstance(shown, dict) and isinstance(read, dict):
        return set[str]().union(
            *(unread(shown[key], read.get(key, MISSING), f"{path}.{key}") for key in shown)
        )
    if isinstance(shown, list) and isinstance(read, list) and len(shown) == len(read):
        return set[str]().union(
            *(unread(*pair, f"{path}[]") for pair in zip(shown, read, strict=True))
        )
    return set() if shown == read else {path}


def test_grafana_itself_knows_all_that_the_dashboard_says() -> None:
    register_default_plugins()
    whole = dashboard()
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(whole)))
    # What an export writes beside the dashboard, for the import; and an id that is not given yet.
    assert unread(whole, read) == {
        ".__inputs",
        ".__requires",
        ".id",
        ".templating.list[].definition",
    }


def test_the_dashboard_is_imported_with_a_data_source_to_be_chosen() -> None:
    whole = dashboard()
    assert whole["schemaVersion"] >= 39
    assert [one["name"] for one in whole["__inputs"]] == ["DS_PROMETHEUS"]
    for panel in whole["panels"]:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${DS_PROMETHEUS}"}


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    for place in places:
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, f"{one} overlaps {other}"


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_podfleet_itself_needs_no_prometheus_client() -> None:
    done = run("import sys, podfleet; sys.exit('prometheus_client' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_who_lacks_prometheus_client_is_told_the_extra() -> None:
    done = run("import sys; sys.modules['prometheus_client'] = None; import podfleet.metrics")
    assert done.returncode == 1
    assert "ImportError: podfleet.metrics needs prometheus_client: pip install" in done.stderr
    assert "podfleet[metrics]" in done.stderr


def test_the_library_is_quiet_unless_the_program_says_otherwise() -> None:
    assert any(
        isinstance(one, logging.NullHandler) for one in logging.getLogger("podfleet").handlers
    )
    done = run("import logging, podfleet; logging.getLogger('podfleet.fleet').error('broken')")
    assert (done.returncode, done.stderr) == (0, "")
    shown = "logging.basicConfig(); logging.getLogger('podfleet.fleet').error('broken')"
    assert "broken" in run(f"import logging, podfleet; {shown}").stderr
