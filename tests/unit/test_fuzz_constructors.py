"""Whatever a public constructor is given, it makes a value or names the argument that is wrong."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import podfleet
from podfleet import (
    AsyncFleet,
    ByHost,
    ConfigurationError,
    Fleet,
    GameServerTemplate,
    HeadlessDNS,
    HostPort,
    IstioRoute,
    NodeAddress,
    NodePortPerPod,
    PodfleetError,
    Port,
    PortPool,
    Protocol,
    Window,
)
from podfleet.local import LocalCluster, Node
from tests.odd import replaced

TEMPLATE = GameServerTemplate(image="arena:1", ports=[Port("game", 7777, "TCP")])
SHARED = GameServerTemplate(image="arena:1", ports=[Port("game", 7777, "TCP")], slots=4)
POOL = PortPool(31000, 31009)
FLEET = {"name": "arena", "template": TEMPLATE, "exposure": HostPort(POOL)}

GOOD: dict[Callable[..., Any], dict[str, Any]] = {
    podfleet.Fleet: FLEET,
    podfleet.AsyncFleet: FLEET,
    podfleet.FleetGroup: {"name": "group", "fleets": [Fleet(**FLEET)]},  # type: ignore[arg-type]
    podfleet.AsyncFleetGroup: {
        "name": "group",
        "fleets": [AsyncFleet(**FLEET)],  # type: ignore[arg-type]
    },
    podfleet.GameServerTemplate: {"image": "arena:1", "ports": [Port("game", 7777)]},
    podfleet.Port: {"name": "game", "number": 7777},
    podfleet.PortPool: {"first": 31000, "last": 31009},
    podfleet.NodeAddress: {},
    podfleet.HostPort: {"pool": POOL},
    podfleet.NodePortPerPod: {},
    podfleet.HeadlessDNS: {},
    podfleet.IstioRoute: {"by": ByHost("play.example.com")},
    podfleet.ByHost: {"domain": "play.example.com"},
    podfleet.ByPath: {"host": "play.example.com"},
    podfleet.ByHeader: {"host": "play.example.com"},
    podfleet.ByPort: {"numbers": POOL},
    podfleet.StatefulSet: {},
    podfleet.Rollout: {},
    podfleet.Buffer: {"ready": 5},
    podfleet.Demand: {},
    podfleet.Chain: {"policies": [5]},
    podfleet.Schedule: {
        "windows": [Window(start="18:00", end="23:00", policy=4)],
        "zone": "Europe/Berlin",
    },
    podfleet.Window: {"start": "18:00", "end": "23:00", "policy": 4},
    podfleet.Load: {"now": datetime(2026, 11, 23, 20, 30, tzinfo=UTC)},
    podfleet.Cluster: {},
    podfleet.Endpoint: {
        "host": "203.0.113.7",
        "port": 7777,
        "protocol": Protocol.UDP,
        "name": "game",
    },
    podfleet.Resource: {
        "plural": "services",
        "manifest": {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}},
    },
    podfleet.Rule: {"group": "", "resources": ("pods",), "verbs": ("get",)},
    podfleet.tender_deployment: {
        "name": "arena",
        "references": ["game:fleet"],
        "image": "backend:1",
        "namespace": "games",
        "service_account": "games/podfleet-arena",
    },
    Node: {},
    LocalCluster: {},
}

# Made by podfleet and handed out, or abstract, or functions that need a cluster: no constructors
# of a caller's (the functions that talk to one are in tests/live/test_fuzz_calls.py).
HANDED_OUT = {
    "AsyncFleetServer", "ClusterView", "Diagnosis", "EventKind", "EventStream", "ExposureStrategy",
    "Finding", "FleetEvent", "FleetServer", "FleetStatus", "GameServer", "Protocol",
    "RolloutStatus", "Route", "ScalingPolicy", "ServerState", "Verdict", "async_wait_gone",
    "async_wait_reachable", "async_wait_ready", "own_service", "wait_gone", "wait_reachable",
    "wait_ready",
}  # fmt: skip


def test_every_public_constructor_is_fuzzed() -> None:
    public = {
        name
        for name in podfleet.__all__
        if not (
            isinstance(getattr(podfleet, name), type)
            and issubclass(getattr(podfleet, name), Exception)
        )
    }
    fuzzed = {make.__name__ for make in GOOD}
    # What is new is to be in one of the two lists.
    assert public - fuzzed - HANDED_OUT <= {"AllocationPhase"}
    assert public & fuzzed & HANDED_OUT == set()


def use(made: Any) -> None:
    """Use a value as a fleet does: what it took it must be able to work with."""
    repr(made)
    if isinstance(made, GameServerTemplate):
        for exposure in (HostPort(POOL), NodePortPerPod(POOL), HeadlessDNS()):
            with contextlib.suppress(ConfigurationError):
                use(AsyncFleet("arena", template=made, exposure=exposure))
    if isinstance(made, AsyncFleet):
        numbers = tuple(range(31000, 31000 + made.exposure.ports_needed(made.spec.template)))
        json.dumps(made.spec.pod("games", "arena-1", numbers)).encode()
        json.dumps(made.manifests()).encode()
        assert made.revision
    if isinstance(made, Fleet):
        json.dumps(made.manifests()).encode()
    if isinstance(made, IstioRoute | HostPort | NodePortPerPod | HeadlessDNS):
        with contextlib.suppress(ConfigurationError):
            use(AsyncFleet("arena", template=TEMPLATE, exposure=made))
    if isinstance(made, podfleet.Route):
        with contextlib.suppress(ConfigurationError):
            use(IstioRoute(made, address="203.0.113.7"))
    if isinstance(made, podfleet.ScalingPolicy):
        with contextlib.suppress(PodfleetError):
            made.free(podfleet.Load(now=datetime(2026, 11, 23, 20, 30, tzinfo=UTC), allocated=3))
    if isinstance(made, podfleet.Endpoint):
        str(made), hash(made), made.url("ws", "/x").encode()
    if isinstance(made, podfleet.Rollout):
        assert made.surge_of(10) >= 0 <= made.unavailable_of(10)
    if isinstance(made, NodeAddress) and made.by_function is None:
        with contextlib.suppress(ConfigurationError):
            made.choose("node-a", {"metadata": {"name": "node-a"}}, ["203.0.113.9"])
    if isinstance(made, Node):
        json.dumps(made.manifest("127.0.0.1", {})).encode()
    if isinstance(made, dict | podfleet.Rule):
        shown = made if isinstance(made, dict) else made.to_manifest()
        json.dumps(shown).encode()


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_a_constructor_makes_a_value_or_names_what_is_wrong(make: Callable[..., Any]) -> None:
    parameters = inspect.signature(make).parameters
    use(make(**GOOD[make]))

    @settings(max_examples=40, report_multiple_bugs=True, suppress_health_check=list(HealthCheck))
    @given(replaced(GOOD[make], tuple(parameters)))
    def play(arguments: dict[str, Any]) -> None:
        try:
            made = make(**arguments)
        except ConfigurationError as error:
            refused = error
        else:
            use(made)
            return
        assert refused.field
        assert refused.advice
        assert len(str(refused)) < 2000
        str(refused).encode()

    play()
