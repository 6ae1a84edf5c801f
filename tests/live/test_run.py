"""A process that does nothing but tend: `run()` of a fleet and of a group, and how it ends."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from podfleet import (
    AsyncFleet,
    AsyncFleetGroup,
    Fleet,
    FleetGroup,
    Forbidden,
    HeadlessDNS,
    TransportError,
)
from podfleet.kube import Cluster
from tests.cluster.credentials import write_kubeconfig
from tests.cluster.fixtures import Backend
from tests.live import arena
from tests.live.arena import eventually, eventually_async
from tests.live.test_warm import until_ready

_Face = TypeVar("_Face", Fleet, AsyncFleet)


def make(face: type[_Face], backend: Backend, **settings: Any) -> _Face:
    """Return a fleet whose servers need no port of a node, which another test's may still have."""
    return arena.make(face, backend, exposure=HeadlessDNS(), **settings)


TENDER = """
import asyncio, signal, sys
from podfleet import *
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs begin with it ignored
kind, kubeconfig, namespace, image, when_told = sys.argv[1:]
face = AsyncFleet if kind.startswith("Async") else Fleet
tended = face(
    "arena",
    template=GameServerTemplate(image=image, ports=[Port("game", 7777, "TCPUDP")]),
    exposure=HeadlessDNS(),
    namespace=namespace,
    cluster=Cluster(kubeconfig=kubeconfig),
    ready=2,
)
if kind.endswith("Group"):
    tended = getattr(sys.modules["podfleet"], kind)("any-arena", [tended])
if when_told == "handle":
    signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
if face is AsyncFleet:
    asyncio.run(tended.run())
else:
    tended.run()
print("ended")
"""


@contextmanager
def tender(backend: Backend, kind: str, when_told: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run one in a process, with the rights of the printed Role."""
    arguments = [kind, str(backend.kubeconfig), backend.namespace, backend.cluster.image, when_told]
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", TENDER, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return with what the process ended, and what it said."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def lease(backend: Backend) -> dict[str, Any]:
    (found,) = [
        one
        for one in backend.objects("coordination.k8s.io/v1", "leases")
        if one["metadata"]["name"] == "arena-tender"
    ]
    spec: dict[str, Any] = found["spec"]
    return spec


def is_tended(backend: Backend) -> bool:
    return bool(backend.objects("coordination.k8s.io/v1", "leases")) and bool(
        lease(backend).get("holderIdentity")
    )


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("Fleet", signal.SIGTERM),
        ("Fleet", signal.SIGINT),
        ("AsyncFleet", signal.SIGTERM),
        ("AsyncFleet", signal.SIGINT),
        ("FleetGroup", signal.SIGTERM),
        ("AsyncFleetGroup", signal.SIGTERM),
    ],
)
def test_a_signal_ends_it_and_another_can_tend_at_once(
    backend: Backend, kind: str, told: signal.Signals
) -> None:
    make(Fleet, backend)  # for the rights
    with tender(backend, kind) as process:
        eventually(lambda: len(backend.pods()) == 2 and is_tended(backend))
        process.send_signal(told)
        assert ended(process) == (0, "ended\n", "")
    assert "holderIdentity" not in lease(backend)
    assert len(backend.pods()) == 2


@pytest.mark.parametrize("kind", ["Fleet", "AsyncFleet"])
def test_who_handles_sigterm_keeps_it(backend: Backend, kind: str) -> None:
    make(Fleet, backend)
    with tender(backend, kind, "handle") as process:
        eventually(lambda: len(backend.pods()) == 2)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "told\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        code, out, _ = ended(process)
        assert (code, out) == ((0, "ended\n") if kind == "Fleet" else (-signal.SIGINT, ""))


def test_a_signal_ends_it_while_it_starts(backend: Backend) -> None:
    make(Fleet, backend)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        server = {"server": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        write_kubeconfig(backend.kubeconfig, "token", backend.kubeconfig, **server)
        with tender(backend, "AsyncFleet") as process:
            connection, _ = silent.accept()
            with connection:
                assert process.poll() is None
                process.send_signal(signal.SIGTERM)
                assert ended(process) == (0, "ended\n", "")


def test_in_a_thread_it_ends_when_the_fleet_is_stopped(backend: Backend) -> None:
    before = signal.getsignal(signal.SIGTERM)
    fleet = make(Fleet, backend, ready=1)
    threads = [threading.Thread(target=fleet.run) for _ in range(2)]
    for thread in threads:
        thread.start()
    until_ready(fleet, 1)
    assert signal.getsignal(signal.SIGTERM) is before
    fleet.stop()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert "holderIdentity" not in lease(backend)


def test_what_is_entered_already_can_run_and_is_stopped_once(backend: Backend) -> None:
    async def play() -> None:
        async with make(AsyncFleet, backend, ready=1) as fleet:
            task = asyncio.create_task(fleet.run())
            await eventually_async(lambda: is_tended(backend))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert "holderIdentity" not in lease(backend)

    asyncio.run(play())


def test_runs_of_one_process_end_by_one_signal_and_give_the_signals_back(backend: Backend) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        fleet = make(AsyncFleet, backend, ready=1)
        other = make(AsyncFleet, backend, name="other")
        group = AsyncFleetGroup("any", [other])
        before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        work = asyncio.gather(fleet.run(), fleet.run(), group.run())
        await eventually_async(lambda: is_tended(backend))
        loop.call_soon(signal.raise_signal, signal.SIGTERM)
        await asyncio.wait_for(work, 30)
        assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before

    asyncio.run(play())


def test_what_cannot_start_says_why(backend: Backend) -> None:
    with pytest.raises(Forbidden, match=r"apply what fleet\.manifests\(\) returns"):
        make(Fleet, backend, grant=False).run()
    group = FleetGroup("any", [make(Fleet, backend, grant=False)])
    with pytest.raises(Forbidden):
        group.run()


def test_a_cluster_that_is_not_there_is_told(backend: Backend) -> None:
    write_kubeconfig(backend.kubeconfig, "token", backend.kubeconfig, server="http://127.0.0.1:1")
    nowhere = Cluster(kubeconfig=backend.kubeconfig, timeout=1.0)
    with pytest.raises(TransportError):
        make(Fleet, backend, grant=False, cluster=nowhere).run()
