"""Autoscalers and drains take free servers only."""

import json
from collections.abc import Mapping

import pytest

from podfleet import Fleet
from podfleet.model.names import DO_NOT_DISRUPT, SAFE_TO_EVICT
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, template
from tests.live.test_warm import until_ready


def marks(notes: Mapping[str, str]) -> tuple[str | None, str | None]:
    return notes.get(SAFE_TO_EVICT), notes.get(DO_NOT_DISRUPT)


def test_what_autoscalers_are_told_follows_the_state(backend: Backend) -> None:
    with make(Fleet, backend, ready=1) as fleet:
        until_ready(fleet, 1)
        (free,) = fleet.servers()
        assert marks(free.annotations) == ("true", None)
        reserved = fleet.reserve(60)
        assert marks(reserved.annotations) == ("false", "true")
        fleet.release(reserved)
        eventually(lambda: marks(fleet.get(free.name).annotations) == ("true", None))
        server = fleet.allocate("match-1", timeout=30)
        assert marks(server.annotations) == ("false", "true")
        server.release(recycle=True)
        eventually(lambda: marks(fleet.get(server.name).annotations) == ("true", None))


def test_what_sessions_share_is_held_while_one_is_on_it(backend: Backend) -> None:
    with make(Fleet, backend, template=template(backend, slots=2)) as fleet:
        server = fleet.allocate("red", timeout=60)
        assert marks(server.annotations) == ("false", "true")
        fleet.leave("red")
        eventually(lambda: marks(fleet.get(server.name).annotations) == ("true", None))


def test_what_the_template_says_counts_more(backend: Backend) -> None:
    own = template(backend, annotations={SAFE_TO_EVICT: "false"})
    with make(Fleet, backend, template=own, ready=1) as fleet:
        until_ready(fleet, 1)
        assert marks(fleet.servers()[0].annotations) == ("false", None)
        server = fleet.allocate(timeout=30)
        assert marks(server.annotations) == ("false", None)
        fleet.release(server, recycle=True)
        eventually(lambda: marks(fleet.get(server.name).annotations) == ("false", None))


@pytest.mark.only("real", "the embedded cluster evicts nothing")
def test_a_drain_waits_for_matches_and_takes_free_servers(backend: Backend) -> None:
    with make(Fleet, backend, ready=1) as fleet:
        until_ready(fleet, 1)
        server = fleet.allocate("match-1", timeout=30)
        until_ready(fleet, 1)
        free = next(one for one in fleet.servers() if one.name != server.name)

        def evict(name: str) -> None:
            place = {"name": name, "namespace": backend.namespace}
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": place}
            path = f"/api/v1/namespaces/{backend.namespace}/pods/{name}/eviction"
            backend.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))

        # The budget's controller has seen the server when it says so.
        eventually(lambda: budget(backend)["status"].get("currentHealthy") == 1)
        with pytest.raises(RuntimeError, match="disruption budget"):
            evict(server.name)
        evict(free.name)
        eventually(lambda: free.name not in [one.name for one in fleet.servers()], 60)
        assert fleet.find("match-1") == server


def budget(backend: Backend) -> Mapping[str, Mapping[str, int]]:
    (found,) = backend.objects("policy/v1", "poddisruptionbudgets")
    shown: Mapping[str, Mapping[str, int]] = found
    return shown
