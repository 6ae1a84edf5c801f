"""Credentials that expire, and are refused: no watch is lost, and nothing is asked in a loop."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from podfleet import Cluster, EventKind, Fleet, ServerState, Unauthorized
from podfleet.exposure import HeadlessDNS
from podfleet.testing import Fault
from tests.cluster import shortlived
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


class Rotation:
    """Replaces short-lived credentials in time, as a kubelet does, beside a fleet's run."""

    def __init__(self, renew: Callable[[], object], every: float) -> None:
        self._renew = renew
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.times = 0

    def __enter__(self) -> Self:
        self._renew()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._renew()
            self.times += 1


def through(backend: Backend, folder: Path, user: dict[str, Any]) -> Cluster:
    """Return the backend's cluster with other credentials."""
    config = json.loads(backend.kubeconfig.read_text())
    (entry,) = config["users"]
    entry["user"] = user
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return Cluster(kubeconfig=path)


def service_account(backend: Backend) -> tuple[str, str]:
    """Return the backend's account, and its UID."""
    name = backend.account.partition("/")[2]
    shown = backend.cluster.get("v1", "serviceaccounts", backend.namespace, name)
    return name, shown["metadata"]["uid"]


def play(fleet: Fleet, seconds: float) -> int:
    """Allocate and release for so long; return how often, when all events of it have come."""
    heard: list[tuple[EventKind, str | None]] = []
    fleet.on_event(lambda event: heard.append((event.kind, event.session)))
    began, played = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        session = f"match-{played}"
        fleet.allocate(session, timeout=30).release()
        played += 1
    expected = {
        (kind, f"match-{number}")
        for kind in (EventKind.ALLOCATED, EventKind.RELEASED)
        for number in range(played)
    }
    eventually(lambda: expected <= set(heard))
    assert not [one for one in heard if one[0] in (EventKind.LOST, EventKind.FAILED)]
    return played


LIFE = 20.0  # seconds
SECONDS = {"token file": 60.0, "plugin": 35.0, "client certificate": 35.0}
"""How long each is played; ``PODFLEET_CREDENTIALS_SECONDS`` names another time."""


@pytest.mark.only("real", "the API server decides what has expired")
@pytest.mark.parametrize("kind", ["token file", "plugin", "client certificate"])
def test_a_fleet_lives_on_credentials_of_20_seconds(
    backend: Backend, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    account, uid = service_account(backend)
    seconds = float(os.environ.get("PODFLEET_CREDENTIALS_SECONDS") or SECONDS[kind])

    def new_token() -> None:
        fresh = tmp_path / "fresh"
        fresh.write_text(shortlived.token(backend.namespace, account, uid, LIFE))
        fresh.replace(tmp_path / "token")

    user: dict[str, Any]
    renew: Callable[[], object] = new_token
    if kind == "token file":
        user = {"tokenFile": str(tmp_path / "token")}
    elif kind == "plugin":
        plugin = tmp_path / "plugin"
        plugin.write_text(
            "#!/bin/sh\n"
            'printf \'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",'
            f' "status": {{"token": "%s"}}}}\' $(cat {tmp_path}/token)\n'
        )
        plugin.chmod(0o700)
        user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin"}}
    else:
        # RBAC goes by the name: rbac/v1 helpers, ServiceAccountKind.
        name = f"system:serviceaccount:{backend.namespace}:{account}"
        renew = partial(shortlived.certificate, name, tmp_path, LIFE)
        user = {
            "client-certificate": str(tmp_path / "client.crt"),
            "client-key": str(tmp_path / "client.key"),
        }
    with Rotation(renew, LIFE * 0.7) as rotation:
        first = tmp_path / "first"
        first.mkdir()
        for file in [one for one in tmp_path.iterdir() if one.is_file()]:
            shutil.copy(file, first)
        cluster = through(backend, tmp_path, user)
        with make(Fleet, backend, exposure=HeadlessDNS(), cluster=cluster) as fleet:
            played = play(fleet, seconds)
        assert rotation.times >= int(seconds / LIFE)
    # What it began with has ended indeed.
    if kind == "client certificate":
        old = {key: value.replace(str(tmp_path), str(first)) for key, value in user.items()}
    else:
        old = {"token": (first / "token").read_text()}
    with (
        pytest.raises(Unauthorized),
        make(Fleet, backend, cluster=through(backend, first, old), grant=False),
    ):
        pass
    print(f"{kind}: {played} allocations, {rotation.times} rotations")
    assert "could not be renewed" not in caplog.text
