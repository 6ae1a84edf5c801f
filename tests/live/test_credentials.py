"""Credentials that expire, and are refused: no watch is lost, and nothing is asked in a loop."""

import pytest

from podfleet import Fleet, ServerState, Unauthorized
from podfleet.exposure import HeadlessDNS
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make
from tests.live.faults import faulty


@pytest.mark.only("embedded", "the proxy answers, not the API server")
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_one_401_loses_no_watch(backend: Backend, method: str) -> None:
    with faulty(backend) as (api, through), make(Fleet, through, exposure=HeadlessDNS()) as fleet:
        eventually(lambda: len(api.watching) == 2)  # its servers, and cordoned nodes
        refused = api.fail(Fault(method, "/pods", status=401))
        server = fleet.allocate("match-1", timeout=20)
        if method == "GET":
            fleet.find("match-1")
        server.release()
        eventually(lambda: refused.times == 0)
        eventually(lambda: not fleet.servers())
        assert fleet.allocate("match-2", timeout=20).state is ServerState.ALLOCATED
        assert sum("/pods?" in one and "watch=true" in one for one in api.seen) == 1


@pytest.mark.only("embedded", "the proxy answers, not the API server")
def test_a_401_for_good_is_told_at_once_and_over_when_it_is(backend: Backend) -> None:
    with faulty(backend) as (api, through), make(Fleet, through, exposure=HeadlessDNS()) as fleet:
        eventually(lambda: len(api.watching) == 2)
        refused = api.fail(Fault("POST", "/pods$", status=401, times=1000))
        for _ in range(3):
            with pytest.raises(Unauthorized, match="check the credentials"):
                fleet.allocate(timeout=5)
        assert api.count("POST /api/v1/namespaces") <= 4  # tried again with new ones, once
        refused.times = 0
        fleet.allocate("match-1", timeout=20)
