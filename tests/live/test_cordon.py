"""Cordoned nodes get no more matches, and become empty without one being ended."""

import logging
from collections import Counter

import pytest

from podfleet import Fleet, HeadlessDNS, ServerState
from podfleet.model.names import FLEET
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, template
from tests.live.cordons import cordoned
from tests.live.faults import faulty
from tests.live.test_warm import until_ready

# Servers that others start would find no node.
pytestmark = pytest.mark.alone

READY = ServerState.READY


def places(fleet: Fleet, state: ServerState = READY) -> set[str | None]:
    return {one.node for one in fleet.servers(state)}


def names_on(backend: Backend, node: str) -> set[str]:
    return {
        pod["metadata"]["name"] for pod in backend.pods() if pod["spec"].get("nodeName") == node
    }


def test_a_cordoned_node_becomes_empty_and_its_matches_go_on(backend: Backend) -> None:
    with make(Fleet, backend, ready=5) as fleet:
        until_ready(fleet, 5)
        ((fullest, count), *_) = Counter(one.node for one in fleet.servers()).most_common()
        assert count > 2
        match = fleet.allocate("match-1", prefer=lambda one: one.node != fullest, timeout=60)
        node = match.node
        assert node is not None
        assert node == fullest
        with cordoned(backend.cluster, node):
            eventually(lambda: fleet.status().servers[READY] == 5 and node not in places(fleet), 60)
            eventually(lambda: names_on(backend, node) == {match.name})
            assert fleet.find("match-1") == match
            match.release()
            others = [fleet.allocate(timeout=60) for _ in range(3)]
            assert node not in {one.node for one in others}


def test_a_server_on_a_cordoned_node_is_taken_if_there_is_no_other(backend: Backend) -> None:
    each = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {FLEET: "arena"}},
    }
    spread = template(backend, pod={"spec": {"topologySpreadConstraints": [each]}})
    with faulty(backend) as (api, behind):
        with make(Fleet, behind, template=spread, ready=4) as keeper:
            eventually(lambda: keeper.status().servers[READY] == 4 and len(places(keeper)) == 2, 60)
            free = [one.node for one in keeper.servers(READY)]
        node = free[0]
        assert node is not None
        others = len(free) - free.count(node)
        before = len(api.seen)  # the keeper has watched them too
        with cordoned(backend.cluster, node), make(Fleet, behind, template=spread) as fleet:
            until_ready(fleet, 4)
            eventually(
                lambda: [one for one in api.seen[before:] if "/nodes?" in one and "watch=" in one]
            )
            taken = [fleet.allocate(timeout=60).node for _ in free]
            assert node not in taken[:others]
            assert set(taken[others:]) == {node}


def test_a_node_may_be_cordoned_again(backend: Backend) -> None:
    with make(Fleet, backend, ready=2, packing="spread") as fleet:
        until_ready(fleet, 2)
        node = fleet.servers(READY)[0].node
        assert node is not None
        for _ in range(2):
            with cordoned(backend.cluster, node):
                eventually(
                    lambda: fleet.status().servers[READY] == 2 and node not in places(fleet), 60
                )
            other = next(iter(places(fleet)))
            assert other is not None
            with cordoned(backend.cluster, other):
                eventually(
                    lambda: fleet.status().servers[READY] == 2 and places(fleet) == {node}, 60
                )


def test_without_the_right_to_see_nodes_it_goes_on_and_says_so_once(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = make(Fleet, backend, grant=False, exposure=HeadlessDNS())
    manifests = fleet.manifests(backend.account)
    backend.grant(tuple(one for one in manifests if not one["kind"].startswith("Cluster")))
    eventually(lambda: all(one.advice for one in fleet.preflight()))
    advice = fleet.preflight()
    assert [one.what for one in advice] == [
        "no right to list nodes",
        "no right to watch nodes",
    ]
    assert advice[0].why == "without it free servers stay on nodes that are cordoned"
    with caplog.at_level(logging.INFO, "podfleet"), fleet:
        assert fleet.allocate(timeout=60)
        eventually(lambda: "free servers stay on cordoned nodes" in caplog.text)
    said = [one for one in caplog.records if "nodes" in one.getMessage()]
    assert [one.levelno for one in said] == [logging.INFO]
