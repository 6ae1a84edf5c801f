"""How fast an embedded cluster is, how much it takes, and what it leaves behind: nothing."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from podfleet.kube import Cluster, KubeClient
from podfleet.kube.paths import object_path
from podfleet.local import LocalCluster, ServerContext
from podfleet.local.network.listening import Listening
from podfleet.local.node.programs import Image
from podfleet.model import Manifest
from podfleet.sync.portal import portal
from podfleet.testing.cluster import eventually

IDLE = "import time; time.sleep(600)"
PODS = object_path("v1", "pods", "default")


class Api:
    """An embedded cluster's API, over HTTP."""

    def __init__(self, kubeconfig: Path) -> None:
        self._client = KubeClient(Cluster(kubeconfig=kubeconfig))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        portal.run(self._client.close())

    def get(self, path: str) -> Manifest:
        return portal.run(self._client.get(path))

    def create(self, path: str, *manifests: dict[str, Any]) -> None:
        async def create() -> None:
            turns = asyncio.Semaphore(50)

            async def one(manifest: dict[str, Any]) -> None:
                async with turns:
                    await self._client.ask(path, manifest)

            await asyncio.gather(*map(one, manifests))

        portal.run(create())

    def log(self, name: str) -> str:
        return portal.run(self._client.text(f"{PODS}/{name}/log"))

    def are_ready(self, count: int) -> bool:
        return sum(map(is_ready, self.get(PODS)["items"])) == count


def is_ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def pod(name: str, image: str, **ports: int) -> dict[str, Any]:
    container = {"name": "game", "image": image, "ports": [ports] if ports else []}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def best(attempts: int, attempt: Callable[[], float]) -> float:
    """Return the shortest time: a busy machine makes any of them longer, and none shorter."""
    return min(attempt() for _ in range(attempts))


async def idle(context: ServerContext) -> None:
    await asyncio.Event().wait()


def test_a_cluster_starts_in_300_ms() -> None:
    def start() -> float:
        began = time.monotonic()
        with LocalCluster() as local, Api(local.kubeconfig) as api:
            api.get("/version")
            return time.monotonic() - began

    assert best(3, start) < 0.3


def test_a_process_is_ready_in_500_ms() -> None:
    with (
        LocalCluster({"arena:1": [sys.executable, "-c", IDLE]}) as local,
        Api(local.kubeconfig) as api,
    ):
        names = iter(["one", "two", "three"])

        def run() -> float:
            name, began = next(names), time.monotonic()
            api.create(PODS, pod(name, "arena:1"))
            eventually(lambda: is_ready(api.get(f"{PODS}/{name}")))
            return time.monotonic() - began

        assert best(3, run) < 0.5


def test_a_thousand_idle_servers_fit() -> None:
    images: dict[str, Image] = {"coroutine:1": idle, "process:1": ["sleep", "600"]}
    with LocalCluster(images) as local, Api(local.kubeconfig) as api:
        wanted = [pod(f"coroutine-{number}", "coroutine:1") for number in range(900)]
        wanted += [pod(f"process-{number}", "process:1") for number in range(100)]
        api.create(PODS, *wanted)
        eventually(lambda: api.are_ready(1000), timeout=120)
        addresses = {one["status"]["podIP"] for one in api.get(PODS)["items"]}
        assert len(addresses) == 1000


def test_ten_thousand_objects_are_listed_in_a_second() -> None:
    with LocalCluster() as local, Api(local.kubeconfig) as api:
        path = object_path("v1", "configmaps", "default")
        api.create(
            path,
            *({"metadata": {"name": f"rules-{n}"}, "data": {"map": "dust"}} for n in range(10_000)),
        )

        def listed() -> float:
            began = time.monotonic()
            found = api.get(path)
            took = time.monotonic() - began
            assert len(found["items"]) == 10_000
            return took

        assert best(3, listed) < 1


SERVER = """
import os, socket
with socket.create_server((os.environ["POD_IP"], 7777)) as game:
    while True:
        player, _ = game.accept()
        with player, player.makefile("rb") as lines:
            player.sendall(os.environ["CLUSTER"].encode() + b" " + lines.readline())
"""


def test_ten_clusters_in_one_process_do_not_touch() -> None:
    with ExitStack() as stack:
        clusters = []
        for number in range(10):
            local = LocalCluster({"arena:1": [sys.executable, "-c", SERVER]})
            clusters.append(
                (stack.enter_context(local), stack.enter_context(Api(local.kubeconfig)))
            )
            manifest = pod("arena", "arena:1", containerPort=7777, hostPort=31000)
            manifest["spec"]["containers"][0]["env"] = [{"name": "CLUSTER", "value": str(number)}]
            clusters[-1][1].create(PODS, manifest)
        hosts = []
        for _, api in clusters:
            eventually(partial(api.are_ready, 1))
            (shown,) = api.get(PODS)["items"]
            hosts.append(shown["status"]["hostIP"])
        assert len(set(hosts)) == 10
        for number, host in enumerate(hosts):
            answer = eventually(partial(say, host, 31000, b"hello"))
            assert answer == f"{number} hello"
        clusters[3][0].kill("arena")
        clusters[4][0].stop()
        assert [say(host, 31000, b"again") for host in hosts[5:]] == [
            f"{number} again" for number in range(5, 10)
        ]
        with pytest.raises(ConnectionRefusedError):
            say(hosts[4], 31000, b"again")


OWNER = """
import sys, time
from podfleet.local import LocalCluster
with LocalCluster({"arena:1": [sys.executable, "-c", sys.argv[1]]}) as local:
    print(local.kubeconfig, flush=True)
    time.sleep(600)
"""

PARENT = """
import os, socket, subprocess, sys, time
game = socket.create_server((os.environ["POD_IP"], 7777))
child = "import time; time.sleep(600)"
print(os.getpid())
print(subprocess.Popen([sys.executable, "-c", child]).pid)
# One that left its group.
print(subprocess.Popen([sys.executable, "-c", child], start_new_session=True).pid)
# One that left its group, and whose parent has ended.
starts = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], start_new_session=True).pid)"
subprocess.run([sys.executable, "-c", starts, sys.executable, "-c", child], check=True)
print("ready", flush=True)
time.sleep(600)
"""


def test_nothing_is_left_when_the_owner_is_killed() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, PARENT], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        kubeconfig = Path(owner.stdout.readline().strip())
        with Api(kubeconfig) as api:
            manifest = pod("arena", "arena:1", containerPort=7777, hostPort=31000)
            api.create(PODS, manifest)
            eventually(lambda: "ready" in api.log("arena"))
            eventually(lambda: api.are_ready(1))
            pids = [int(one) for one in api.log("arena").split() if one.isdecimal()]
            (shown,) = api.get(PODS)["items"]
        assert len(pids) == 4
        block = ".".join(shown["status"]["podIP"].split(".")[:2]) + "."
        eventually(lambda: len(listening(block)) >= 3)  # the API, the server, its hostPort
        agents = [int(one) for one in children(owner.pid)]
        everyone = [owner.pid, *agents, *pids]
        assert all(map(is_running, everyone))
    finally:
        owner.kill()
        owner.communicate()

    def left() -> list[object]:
        found = [*filter(is_running, everyone), *listening(block)]
        return [*found, *kubeconfig.parent.glob("**")]

    eventually(lambda: not left(), timeout=5)


def say(host: str, port: int, line: bytes) -> str:
    with socket.create_connection((host, port), 5) as player:
        player.sendall(line + b"\n")
        return player.makefile().readline().strip()


def listening(block: str) -> list[tuple[str, int]]:
    """Return who listens on the addresses of a block."""
    found = Listening.now().sockets
    assert found is not None
    return [one for one in found if one[0].startswith(block)]


def children(pid: int) -> list[str]:
    return [
        one
        for task in Path(f"/proc/{pid}/task").iterdir()
        for one in (task / "children").read_text().split()
    ]


def is_running(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False
