"""HeadlessDNS: names that resolve in the cluster's own DNS, soon, and where the backend runs."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import evolve

from podfleet import ConfigurationError, Fleet, HeadlessDNS
from tests.cluster.fixtures import Backend
from tests.cluster.naming import ask, resolve
from tests.cluster.places import CLUSTER_DNS
from tests.live.arena import eventually, make, over_udp


def test_a_name_resolves_within_two_seconds_of_ready(backend: Backend) -> None:
    with make(Fleet, backend, exposure=HeadlessDNS()) as fleet:
        for _ in range(3):
            server = fleet.allocate(timeout=30)
            ready = time.monotonic()
            while True:
                try:
                    assert resolve(server.endpoint.host) == server.endpoint.address
                    break
                except OSError:
                    assert time.monotonic() - ready < 2.0, "not resolved within 2 s"
                time.sleep(0.02)


def test_srv_records_list_the_servers(backend: Backend) -> None:
    with make(Fleet, backend, exposure=HeadlessDNS(srv=True)) as fleet:
        servers = [fleet.allocate(timeout=30) for _ in range(3)]
        names = {server.endpoint.srv for server in servers}
        (name,) = names
        assert name == f"_game-udp._udp.arena.{backend.namespace}.svc.cluster.local"
        wanted = {(server.endpoint.host, server.endpoint.port) for server in servers}

        def listed() -> set[tuple[str, int]]:
            return {(str(one.target).rstrip("."), one.port) for one in ask(name, "SRV")}

        eventually(lambda: listed() == wanted)


WITHIN = """
import socket, sys
from podfleet import *
fleet = Fleet(
    "arena",
    template=GameServerTemplate(image=sys.argv[1], ports=[Port("game", 7777, "UDP")]),
    exposure=HeadlessDNS(resolve=True),
    cluster=Cluster(kubeconfig=sys.argv[2]),
)
with fleet:
    server = fleet.allocate(timeout=60)
    endpoint = server.endpoint
    assert socket.gethostbyname(endpoint.host) == endpoint.address
    print(server.name == endpoint.host.split(".")[0])
"""


@pytest.mark.only(
    "real", "a resolv.conf names no ports, and the embedded DNS has a port of its own"
)
def test_a_server_is_handed_out_when_its_name_resolves(backend: Backend, tmp_path: Path) -> None:
    """The backend asks the cluster's DNS: as in a Pod, with a resolv.conf of its own."""
    if backend.cluster.ours is None:
        pytest.skip("the DNS server of a cluster of one's own is not reached from outside")
    make(Fleet, backend, exposure=HeadlessDNS())
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(f"nameserver {CLUSTER_DNS}\n")
    run = [sys.executable, "-c", WITHIN, backend.cluster.image, str(backend.kubeconfig)]
    enter = f"mount --bind {resolver} /etc/resolv.conf"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{enter} && exec "$@"', "sh", *run],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_an_existing_service_is_used(backend: Backend) -> None:
    exposure = HeadlessDNS(service="players")
    fleet = make(Fleet, backend, exposure=exposure)
    with pytest.raises(ConfigurationError, match=r"there is no Service .*/players: make it"):
        fleet.start()
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "players", "namespace": backend.namespace},
        "spec": {
            "clusterIP": "None",
            "selector": {"podfleet.dev/fleet": "arena"},
            "publishNotReadyAddresses": True,
        },
    }
    backend.cluster.apply([service])
    with fleet:
        server = fleet.allocate(timeout=30)
        host = server.endpoint.host
        assert host == f"{server.name}.players.{backend.namespace}.svc.cluster.local"
        assert eventually(lambda: resolve(host)) == server.endpoint.address
        assert over_udp(evolve(server.endpoint, host=resolve(host))) == f"{server.name} hello"


def test_the_fleets_service_follows_its_template(backend: Backend) -> None:
    """A port more, and a fleet that may change the Service does; one that may not says so."""
    with make(Fleet, backend, exposure=HeadlessDNS()):
        pass
    with pytest.raises(ConfigurationError, match=r"fleet\.manifests\(\)"):
        make(Fleet, backend, exposure=HeadlessDNS(srv=True), grant=False).start()
    with make(Fleet, backend, exposure=HeadlessDNS(srv=True)) as fleet:
        assert fleet.preflight() == ()
