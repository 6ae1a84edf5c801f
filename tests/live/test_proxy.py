"""Each fault of `FaultyApi`, as a client meets it."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from urllib.parse import urlsplit

import pytest

from podfleet.testing import Fault, FaultyApi
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


@pytest.fixture
def through(backend: Backend) -> Iterator[tuple[FaultyApi, Client]]:
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


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "Forbidden"),
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
