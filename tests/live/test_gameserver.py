"""The game server's own side: the example server, as a process of the embedded cluster."""

import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from podfleet import Cluster, Fleet, GameServerTemplate, HeadlessDNS, Port, ServerState
from podfleet.gameserver import Readiness
from podfleet.local import LocalCluster
from podfleet.testing import eventually
from podfleet.testing.dialing import over_udp
from tests.live.test_warm import until_ready

EXAMPLE = Path(__file__).parents[2] / "examples" / "arena_server.py"
PROBE: dict[str, Any] = {
    "httpGet": {"port": 8080},
    "periodSeconds": 1,
    "failureThreshold": 1,
}


def test_one_process_serves_match_after_match() -> None:
    pod = {"spec": {"containers": [{"name": "server", "readinessProbe": PROBE}]}}
    template = GameServerTemplate(image="arena:1", ports=[Port("game", 7777, "UDP")], pod=pod)
    images = {"arena:1": [sys.executable, str(EXAMPLE)]}
    with (
        LocalCluster(images) as cluster,
        Fleet(
            "arena",
            template=template,
            exposure=HeadlessDNS(),
            cluster=Cluster(kubeconfig=cluster.kubeconfig),
        ) as fleet,
    ):
        first = fleet.allocate("match-1", metadata={"map": "dust"}, timeout=30)
        assert first.endpoint.address is not None
        dialed = evolve(first.endpoint, host=first.endpoint.address)  # no DNS on this machine

        def said() -> str:
            return over_udp(dialed)

        eventually(lambda: said() == "match-1 on dust")
        first.release(recycle=True)
        eventually(lambda: said() == "waiting")
        until_ready(fleet, 1)
        again = fleet.allocate("match-2", metadata={"map": "ice"}, timeout=30)
        assert again.uid == first.uid
        eventually(lambda: said() == "match-2 on ice")
        again.release()
        eventually(lambda: fleet.status().servers[ServerState.ALLOCATED] == 0)


def test_a_server_without_a_probe_is_told_so() -> None:
    readiness = Readiness(0)
    with pytest.raises(TimeoutError, match=r"no readiness probe within 0\.1 s"):
        readiness.say(False, timeout=0.1)
    readiness.close()
