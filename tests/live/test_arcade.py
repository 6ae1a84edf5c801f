"""examples/arcade on a cluster: its manifests, and its game server in a container."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from attrs import evolve
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from arcade.fleet import make_fleet
from arcade.kubernetes import manifests
from podfleet import AsyncFleet, Endpoint, GameServerTemplate, PortPool
from tests.cluster.fixtures import Backend, LiveCluster
from tests.live.arena import eventually, eventually_async, make

ROOT = Path(__file__).parents[2]
EXAMPLES = str(ROOT / "examples")
HELLO = {"session": "red-fox-42", "player": "s3cret", "name": "Ann", "hue": 200}
OTHER_MATCH = 4001


@pytest.mark.only("real", "the embedded cluster has no Deployments")
def test_the_manifests_are_accepted(cluster: LiveCluster, namespace: str) -> None:
    needed = manifests("registry.example.com/arcade:1", namespace, private=True)
    assert {"Role", "Deployment", "Service"} <= {one["kind"] for one in needed}
    items = {"apiVersion": "v1", "kind": "List", "items": needed}
    said = cluster.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(items)
    )
    assert len(said.splitlines()) == len(needed)
    assert "deployment.apps/arcade created (server dry run)" in said


def container(backend: Backend) -> GameServerTemplate:
    """Return the arcade's template; no image is built, so the container is given this Python."""
    shape = make_fleet(backend.cluster.image, backend.namespace).spec.template
    if backend.cluster.local is not None:
        backend.cluster.local.images["arcade:1"] = [sys.executable]
        return evolve(shape, image="arcade:1", env={"PYTHONPATH": EXAMPLES, "ARCADE_EMPTY": "2"})
    packages = [Path(path) for path in sys.path if path.endswith("site-packages")]
    prefixes = {sys.prefix, sys.base_prefix, *(str(path.parents[2]) for path in packages)}
    pod = json.loads(json.dumps(shape.pod))
    volumes, mounts = [], []
    for number, folder in enumerate(sorted({"/usr", "/lib", "/lib64", str(ROOT), *prefixes})):
        volumes.append({"name": f"host-{number}", "hostPath": {"path": folder}})
        mounts.append({"name": f"host-{number}", "mountPath": folder, "readOnly": True})
    pod["spec"]["volumes"] = volumes
    pod["spec"]["containers"][0]["volumeMounts"] = mounts
    env = {"PYTHONPATH": f"{EXAMPLES}:{ROOT / 'src'}", "ARCADE_EMPTY": "2"}
    return evolve(shape, command=[sys.executable], env=env, pod=pod)


def test_a_match_is_played_over_websocket_and_udp_and_ends(backend: Backend) -> None:
    async def play() -> None:
        pool = PortPool(26160, 26179)
        async with make(AsyncFleet, backend, pool, template=container(backend)) as fleet:
            server = await fleet.allocate("red-fox-42", timeout=90)
            async with connect(server.endpoint.url("ws", "/")) as browser:
                await browser.send(json.dumps(HELLO))
                assert json.loads(await browser.recv()) == {"you": 1}
                await browser.send(json.dumps({"aim": [800, 450]}))
                (orb,) = (await state(browser))["orbs"]
                assert orb[1] == "Ann"
                assert await asyncio.to_thread(over_udp, server.endpoint) == {"Ann", "Terminal"}
                async with connect(server.endpoint.url("ws", "/")) as stranger:
                    await stranger.send(json.dumps({**HELLO, "session": "another"}))
                    with pytest.raises(ConnectionClosed) as closed:
                        await stranger.recv()
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == OTHER_MATCH
            # Both have gone: their seats are kept for a while, and then the process ends.
            names = [server.name]
            await eventually_async(
                lambda: (
                    not [
                        pod
                        for pod in backend.pods()
                        if pod["metadata"]["name"] in names and pod["status"]["phase"] == "Running"
                    ]
                ),
                60,
            )
            assert await fleet.find("red-fox-42") is None

    asyncio.run(play())


async def state(browser: ClientConnection) -> Any:
    """Return the next state of the world."""
    while True:
        message = json.loads(await asyncio.wait_for(browser.recv(), 10))
        if "orbs" in message:
            return message


def over_udp(endpoint: Endpoint) -> set[str]:
    """Join by UDP, and return who is in the match."""
    hello = {**HELLO, "player": "another", "name": "Terminal", "token": "wrong"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as game:
        game.settimeout(10)
        game.connect((endpoint.host, endpoint.port))
        game.send(json.dumps(hello).encode())
        answer = game.recv(2048)
        assert len(answer) < len(json.dumps(hello))  # nobody is flooded by it
        hello["token"] = json.loads(answer)["token"]
        game.send(json.dumps(hello).encode())
        assert json.loads(game.recv(2048)) == {"you": 2}
        return {orb[1] for orb in json.loads(game.recv(2048))["orbs"]}


@pytest.mark.only("embedded", "its Pods find this package without an image")
def test_the_backend_runs_beside_a_cluster_with_the_printed_rights(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend.cluster.local is not None
    backend.cluster.local.images["arcade:1"] = [sys.executable]
    monkeypatch.setenv("PYTHONPATH", EXAMPLES)
    monkeypatch.setenv("ARCADE_PRIVATE", "yes")
    monkeypatch.setenv("KUBECONFIG", str(backend.kubeconfig))
    roles = make_fleet("arcade:1", backend.namespace).manifests(backend.account)
    for role in roles:
        if role["kind"].startswith("ClusterRole"):
            role["metadata"]["labels"] = {"test": backend.namespace}
    backend.grant(roles)
    words = ["--cluster", "--image", "arcade:1", "--port", "0", "--workers", "2"]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "arcade", *words], stdout=subprocess.PIPE, text=True
    ) as arcade:
        try:
            assert arcade.stdout is not None
            url = next(line.strip() for line in arcade.stdout if "http://" in line)
            asked = Request(f"{url}/api/matches/red-fox-42", method="POST")
            with urlopen(asked, timeout=60) as answer:
                server = json.load(answer)
            assert server["session"] == "red-fox-42"
            assert server["name"] in [pod["metadata"]["name"] for pod in backend.pods()]
            eventually(lambda: len(backend.pods()) == 6)  # five free ones beside it
        finally:
            arcade.terminate()
    assert arcade.returncode == 0
