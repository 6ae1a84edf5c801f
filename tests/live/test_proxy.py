"""Each fault of `FaultyApi`, as a client meets it."""

import gc
import http.client
import json
import math
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from podfleet.testing import CredentialPlugin, Fault, FaultyApi, eventually
from tests.cluster.fixtures import Backend
from tests.live.faults import faulty

MAPS = "/configmaps"


class Client:
    """Sends requests through the proxy, as the administrator."""

    def __init__(self, backend: Backend, faults: FaultyApi) -> None:
        config = json.loads(faults.path.read_text())
        self._host = urlsplit(config["clusters"][0]["cluster"]["server"]).netloc
        self._token = config["users"][0]["user"]["token"]
        self.path = f"/api/v1/namespaces/{backend.namespace}{MAPS}"

    @contextmanager
    def send(self, method: str, timeout: float = 5.0) -> Iterator[HTTPResponse]:
        connection = HTTPConnection(self._host, timeout=timeout)
        body = json.dumps({"metadata": {"generateName": "map-"}}) if method == "POST" else None
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, self.path, body, headers)
            yield connection.getresponse()
        finally:
            connection.close()

    def count(self) -> int:
        with self.send("GET") as answer:
            return len(json.load(answer)["items"])


@contextmanager
def proxied(backend: Backend) -> Iterator[tuple[FaultyApi, Client]]:
    """Give the proxy, and a client with rights on ConfigMaps."""
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}
    api = "rbac.authorization.k8s.io"
    metadata = {"name": "maps", "namespace": backend.namespace}
    backend.cluster.apply(
        [
            {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
            {
                "apiVersion": f"{api}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": api, "kind": "Role", "name": "maps"},
                "subjects": [
                    {
                        "kind": "ServiceAccount",
                        "name": backend.account.partition("/")[2],
                        "namespace": backend.namespace,
                    }
                ],
            },
        ]
    )
    with faulty(backend) as (faults, behind):
        client = Client(behind, faults)
        deadline = time.monotonic() + 10
        while True:  # rights take a moment to come into force
            with client.send("GET") as answer:
                if answer.status == http.client.OK or time.monotonic() > deadline:
                    break
        yield faults, client


@pytest.fixture
def through(backend: Backend) -> Iterator[tuple[FaultyApi, Client]]:
    with proxied(backend) as both:
        yield both


@contextmanager
def relay(server: str) -> Iterator[tuple[str, threading.Event]]:
    """Stand before a server; give the URL, and what holds its bytes back while it is not set."""
    address = (str(urlsplit(server).hostname), urlsplit(server).port)
    passing = threading.Event()
    passing.set()

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    class Connection(BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(address) as upstream:
                forth = threading.Thread(target=pass_on, args=(self.request, upstream))
                forth.start()
                with suppress(OSError):
                    while data := upstream.recv(65536):
                        passing.wait()
                        self.request.sendall(data)
                    self.request.shutdown(socket.SHUT_WR)
                forth.join()

    with ThreadingTCPServer((address[0], 0), Connection) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield f"https://{address[0]}:{listener.server_address[1]}", passing
        finally:
            listener.shutdown()
            thread.join()


@pytest.mark.only("real", "the embedded cluster speaks no TLS")
@pytest.mark.usefixtures("own")  # the relay listens where that does, on this machine
def test_it_stops_when_its_connections_have_ended(backend: Backend) -> None:
    config = json.loads(backend.kubeconfig.read_text())
    upstream = config["clusters"][0]["cluster"]
    with relay(upstream["server"]) as (upstream["server"], passing):
        backend.kubeconfig.write_text(json.dumps(config))
        with proxied(backend) as (_, watcher):
            watcher.path += "?watch=true"
            with watcher.send("GET"):
                passing.clear()
                late = threading.Timer(2.0, passing.set)
                late.start()
        late.join()
        gc.collect()  # warns of what is open


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "Forbidden"),
        (401, "Unauthorized"),
        (404, "NotFound"),
        (409, "Conflict"),
        (410, "Expired"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
    ],
)
def test_a_refusal_has_a_status(
    through: tuple[FaultyApi, Client], status: int, reason: str
) -> None:
    faults, client = through
    before = client.count()
    fault = faults.fail(Fault("POST", f"{MAPS}$", status=status, headers={"Retry-After": "7"}))
    with client.send("POST") as answer:
        told = json.load(answer)
        assert (answer.status, told["reason"], told["kind"]) == (status, reason, "Status")
        assert answer.headers["Retry-After"] == "7"
    assert (client.count(), fault.times) == (before, 0)


def test_a_refusal_is_worded_as_a_webhook_does(through: tuple[FaultyApi, Client]) -> None:
    faults, client = through
    denied = 'admission webhook "ports.example.com" denied the request: no hostPorts'
    details = {"causes": [{"message": "no hostPorts"}]}
    words: dict[str, Any] = {"message": denied, "reason": "", "details": details}
    faults.fail(Fault("POST", f"{MAPS}$", status=403, **words))
    with client.send("POST") as answer:
        told = json.load(answer)
    assert {name: told[name] for name in words} == words
    assert "details" not in Fault("POST", f"{MAPS}$", status=403).answer


def test_a_fault_lasts_until_it_is_removed(through: tuple[FaultyApi, Client]) -> None:
    faults, client = through
    faults.fail(Fault("GET|POST", "", times=math.inf, status=401))
    for method in ("GET", "POST", "POST", "GET"):
        with client.send(method) as answer:
            assert answer.status == http.client.UNAUTHORIZED
    faults.faults.clear()
    client.count()


def test_a_refusal_is_late(through: tuple[FaultyApi, Client]) -> None:
    faults, client = through
    before = client.count()
    faults.fail(Fault("POST", MAPS, delay=0.5, status=500))
    began = time.monotonic()
    with client.send("POST") as answer:
        assert answer.status == http.client.INTERNAL_SERVER_ERROR
    assert time.monotonic() - began >= 0.5
    assert client.count() == before


def test_a_watch_expires(through: tuple[FaultyApi, Client]) -> None:
    faults, client = through
    client.path += "?watch=true&resourceVersion=0"
    with client.send("GET") as answer:
        eventually(lambda: faults.watching)
        faults.expire_watches()
        lines = (json.loads(line) for line in answer)
        expired = next(line["object"] for line in lines if line["type"] == "ERROR")
    assert (expired["code"], expired["reason"]) == (410, "Expired")


@pytest.mark.only("embedded", "a plugin is a program on this machine")
def test_a_credential_plugin_works_fails_and_hangs(backend: Backend, tmp_path: Path) -> None:
    plugin = CredentialPlugin(tmp_path)
    token = json.loads(backend.kubeconfig.read_text())["users"][0]["user"]["token"]
    with plugin.kubeconfig(backend.kubeconfig, seconds=20) as kubeconfig:
        command = json.loads(kubeconfig.read_text())["users"][0]["user"]["exec"]["command"]
        printed = json.loads(subprocess.check_output([command]))["status"]
        assert printed["token"] == token
        assert printed["expirationTimestamp"].endswith("Z")
        plugin.issue("another")
        printed = json.loads(subprocess.check_output([command]))["status"]
        assert printed == {"token": "another"}
        plugin.fail("log in again")
        failed = subprocess.run([command], capture_output=True, text=True, check=False)
        assert (failed.returncode, failed.stderr) == (1, "log in again\n")
        plugin.recover()
        plugin.hang()
        with subprocess.Popen([command]) as hanging:
            eventually(lambda: hanging.pid in plugin.processes)
            assert hanging.pid in plugin.running
            hanging.kill()
        assert len(plugin.processes) == 4
        assert not plugin.running
    assert not kubeconfig.exists()


def test_a_pod_is_poisoned(backend: Backend) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "poisoned", "namespace": backend.namespace, "annotations": {"a": "b"}},
        "spec": {"containers": [{"name": "game", "image": backend.cluster.image}]},
    }
    backend.cluster.create(pod)
    backend.cluster.poison(backend.namespace, "poisoned")
    annotations = backend.pods()[0]["metadata"]["annotations"]
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(annotations["podfleet.dev/sessions"])


@pytest.mark.parametrize(
    ("fault", "made"),
    [(Fault("POST", f"{MAPS}$"), 0), (Fault("POST", f"{MAPS}$", lose_reply=True), 1)],
    ids=["before it is carried out", "before it is answered"],
)
def test_the_connection_is_cut(through: tuple[FaultyApi, Client], fault: Fault, made: int) -> None:
    faults, client = through
    before = client.count()
    faults.fail(fault)
    with pytest.raises((RemoteDisconnected, ConnectionError)), client.send("POST"):
        pass
    assert client.count() == before + made


def test_a_request_is_carried_out_twice(through: tuple[FaultyApi, Client]) -> None:
    faults, client = through
    before = client.count()
    faults.fail(Fault("POST", f"{MAPS}$", duplicate=True))
    with client.send("POST") as answer:
        assert answer.status == http.client.CREATED
    assert client.count() == before + 2


def test_an_answer_is_late(through: tuple[FaultyApi, Client]) -> None:
    faults, client = through
    faults.fail(Fault("GET", MAPS, delay=0.5))
    began = time.monotonic()
    client.count()
    assert time.monotonic() - began >= 0.5


def test_a_connection_is_half_open(through: tuple[FaultyApi, Client]) -> None:
    faults, client = through
    faults.fail(Fault("GET", MAPS, silent=True))
    with pytest.raises(TimeoutError), client.send("GET", timeout=0.5):
        pass
    client.count()  # the next one is answered
