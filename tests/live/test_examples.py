"""The examples, run as a reader would run them, under the rights that their fleets print."""

import asyncio
import json
import re
import runpy
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from podfleet import AllocationError, AsyncFleet, AsyncFleetServer, Endpoint, Protocol
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make, over_udp
from tests.live.faults import faulty

EXAMPLES = Path(__file__).parents[2] / "examples"
GATEWAY_PORT = 18090


@pytest.fixture
def as_a_reader(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Have the examples find the test's namespace, and the test game server."""
    monkeypatch.setenv("KUBECONFIG", str(backend.kubeconfig))
    monkeypatch.setenv("GAME_SERVER_IMAGE", backend.cluster.image)
    monkeypatch.setenv("NAMESPACE", backend.namespace)
    return backend


def granted(backend: Backend, name: str) -> dict[str, Any]:
    """Load an example, and give the account what its fleet prints."""
    example = runpy.run_path(str(EXAMPLES / name))
    grant(backend, example["fleet"].manifests(backend.account))
    return example


def grant(backend: Backend, manifests: Iterable[Any]) -> None:
    for manifest in manifests:
        if manifest["kind"].startswith("ClusterRole"):  # found by this label afterwards
            manifest["metadata"]["labels"] = {"test": backend.namespace}
    backend.grant(tuple(manifests))


def run(name: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_quickstart(as_a_reader: Backend) -> None:
    granted(as_a_reader, "quickstart.py")
    (line,) = run("quickstart.py")
    assert re.fullmatch(r"match-42: dial [\d.]+:70\d\d", line)
    eventually(lambda: not as_a_reader.pods())


def test_quickstart_async(as_a_reader: Backend) -> None:
    granted(as_a_reader, "quickstart_async.py")
    lines = sorted(run("quickstart_async.py"))
    assert [line.partition(":")[0] for line in lines] == ["match-blue", "match-red"]
    eventually(lambda: not as_a_reader.pods())


FASTAPI = ["-m", "uvicorn", "--app-dir", str(EXAMPLES), "fastapi_backend:app", "--port"]
DJANGO = [str(EXAMPLES / "django_backend.py"), "runserver", "--noreload"]


def test_fastapi(as_a_reader: Backend) -> None:
    granted(as_a_reader, "fastapi_backend.py")
    with serving(*FASTAPI) as url:
        assert ask("GET", f"{url}/matches/42") == (404, {"detail": "this match is not running"})
        status, told = ask("PUT", f"{url}/matches/42")
        assert status == 200
        assert dial(told["endpoint"]) == f"{told['server']} hello"
        assert ask("PUT", f"{url}/matches/42") == (200, told)
        assert ask("GET", f"{url}/matches/42") == (200, told)
        assert ask("PUT", f"{url}/matches/43")[1]["server"] != told["server"]
        for _ in range(2):
            assert ask("DELETE", f"{url}/matches/42")[0] == 204
        eventually(lambda: ask("GET", f"{url}/matches/42")[0] == 404)


def test_django(as_a_reader: Backend) -> None:
    grant_django(as_a_reader)
    with serving(*DJANGO) as url:
        assert ask("GET", f"{url}/matches/42")[0] == 405
        status, told = ask("PUT", f"{url}/matches/42")
        assert status == 200
        assert dial(told["endpoint"]) == f"{told['server']} hello"
        assert ask("PUT", f"{url}/matches/42") == (200, told)
        for _ in range(2):
            assert ask("DELETE", f"{url}/matches/42")[0] == 204
        eventually(lambda: not as_a_reader.pods())


def test_backends_say_when_there_is_no_room(as_a_reader: Backend) -> None:
    granted(as_a_reader, "fastapi_backend.py")
    grant_django(as_a_reader)
    fill(as_a_reader)
    with serving(*FASTAPI) as url:
        refused = {"detail": "no server is free: try again"}
        assert ask("PUT", f"{url}/matches/42") == (503, refused)
    with serving(*DJANGO) as url:
        assert ask("PUT", f"{url}/matches/42") == (503, {"error": "no server is free"})


@contextmanager
def serving(*command: str) -> Iterator[str]:
    """Serve a backend on loopback, and give its URL as soon as it answers."""
    port = str(free_port())
    with subprocess.Popen(
        [sys.executable, *command, port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"

            def answers() -> bool:
                assert process.poll() is None, "the backend ended"
                try:
                    return ask("GET", url)[0] == 404
                except OSError:
                    return False

            eventually(answers)
            yield url
        finally:
            process.terminate()


def ask(method: str, url: str) -> tuple[int, Any]:
    """Return the status of an answer, and what it says in JSON."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        is_json = error.headers.get_content_type() == "application/json"
        return error.code, json.loads(error.read()) if is_json else None


def fill(backend: Backend) -> None:
    """Leave no room for a Pod."""
    backend.cluster.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"namespace": backend.namespace, "name": "full"},
            "spec": {"hard": {"pods": "0"}},
        }
    )
    if backend.cluster.local is None:  # there a controller has to see it first
        quotas = ("v1", "resourcequotas")
        eventually(lambda: backend.objects(*quotas)[0].get("status", {}).get("hard"))


def grant_django(backend: Backend) -> None:
    """In a process of its own: Django is configured once a process."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import django_backend;"
        "print(json.dumps(django_backend.fleet.manifests(sys.argv[2])))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code, str(EXAMPLES), backend.account],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    grant(backend, json.loads(printed.stdout))


MATCHMAKER: dict[str, Any] = runpy.run_path(str(EXAMPLES / "matchmaker.py"))


def test_the_matchmaker_gives_every_three_players_a_server(backend: Backend) -> None:
    async def play() -> None:
        over = asyncio.Event()
        played: list[str] = []

        async def until_over(server: AsyncFleetServer) -> None:
            await over.wait()
            played.append(server.name)

        async with make(AsyncFleet, backend) as fleet:
            maker = MATCHMAKER["Matchmaker"](fleet, 3, until_over)
            running = asyncio.create_task(maker.run())
            leaver = asyncio.create_task(maker.join("leaver"))
            await asyncio.sleep(0)
            leaver.cancel()
            told = await asyncio.gather(*(maker.join(f"player-{one}") for one in range(6)))
            assert told[0] == told[1] == told[2]
            assert told[3] == told[4] == told[5]
            assert told[0] != told[3]
            names = {(await asyncio.to_thread(over_udp, one)).split()[0] for one in told}
            over.set()
            await asyncio.to_thread(eventually, lambda: not backend.pods())
            assert set(played) == names
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(play())


def test_the_matchmaker_tries_again_and_starts_no_second_server(backend: Backend) -> None:
    async def play() -> None:
        with faulty(backend) as (proxy, through):
            async with make(AsyncFleet, through) as fleet:
                proxy.fail(Fault("POST", "/pods$", lose_reply=True))
                server = await MATCHMAKER["allocate"](fleet, "match-1")
                assert [pod["metadata"]["name"] for pod in backend.pods()] == [server.name]
                await server.release()

    asyncio.run(play())


def test_the_matchmaker_tells_players_that_there_is_no_server(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MATCHMAKER["allocate"].__globals__, "ATTEMPTS", 1)
    fill(backend)

    async def played(_: AsyncFleetServer) -> None: ...

    async def play() -> None:
        async with make(AsyncFleet, backend) as fleet:
            maker = MATCHMAKER["Matchmaker"](fleet, 2, played)
            running = asyncio.create_task(maker.run())
            asked = (maker.join("red"), maker.join("blue"))
            for told in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(told, AllocationError)
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(play())


def test_the_matchmaker_plays_as_a_program(as_a_reader: Backend) -> None:
    async def grant() -> None:
        make(AsyncFleet, as_a_reader, name="matchmaker")

    asyncio.run(grant())
    lines = run("matchmaker.py")
    assert sorted(line.split(" dials ")[0] for line in lines) == [
        f"player-{number}" for number in range(6)
    ]


def test_statefulset(as_a_reader: Backend) -> None:
    granted(as_a_reader, "statefulset.py")
    where, left = run("statefulset.py")
    domain = f"world.{as_a_reader.namespace}.svc.cluster.local"
    assert re.fullmatch(rf"world-\d: dial world-\d\.{domain}:7777", where)
    assert re.fullmatch(r"\d servers are left", left)


def test_istio(
    as_a_reader: Backend,
    istio_crds: None,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local = as_a_reader.cluster.local
    gateway = request.getfixturevalue("gateway").address if local is None else local.gateway
    monkeypatch.setenv("GATEWAY", gateway)
    monkeypatch.setenv("GATEWAY_PORT", str(GATEWAY_PORT))
    example = granted(as_a_reader, "istio.py")
    (line,) = run("istio.py")
    assert re.fullmatch(rf"open ws://{gateway}:{GATEWAY_PORT}/browser-\w+/ws", line)
    with example["fleet"] as fleet:
        server = fleet.allocate("match-43", timeout=60)
        url = server.endpoint.url("http", "/join")
        assert eventually(lambda: first_answer(url)) == f"{server.name} /join"
        server.release()


def first_answer(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode().strip())
    except OSError:
        return ""


def dial(endpoint: str) -> str:
    host, _, port = endpoint.rpartition(":")
    return over_udp(Endpoint(host, int(port), Protocol.UDP, "game"))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
