"""The embedded API server refuses what it cannot read, and never fails of it."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podfleet.local import LocalCluster
from tests.odd import ODD

pytestmark = pytest.mark.only("embedded", "it is the embedded API server that is tried")

CONTAINER = {
    "name": "server",
    "image": "a",
    "args": ["x"],
    "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    "ports": [{"containerPort": 1, "hostPort": 2, "protocol": "TCP", "hostIP": "127.0.0.1"}],
    "resources": {"limits": {"cpu": "1"}},
    "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
}
POD = {
    "metadata": {
        "name": "a",
        "labels": {"a": "b"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u"}],
    },
    "spec": {
        "containers": [CONTAINER],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "activeDeadlineSeconds": 5,
        "hostname": "h",
    },
}
PORTS = [{"port": 1, "targetPort": 1, "nodePort": 30001, "protocol": "TCP"}]
SERVICE = {
    "metadata": {"name": "a"},
    "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": PORTS, "clusterIP": ""},
}
SET = {
    "metadata": {"name": "a"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}},
    },
}
LEASE = {"metadata": {"name": "a"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 3}}
PODS = "/api/v1/namespaces/default/pods"
BODIES = [
    (PODS, POD),
    ("/api/v1/namespaces/default/services", SERVICE),
    ("/apis/apps/v1/namespaces/default/statefulsets", SET),
    ("/apis/coordination.k8s.io/v1/namespaces/default/leases", LEASE),
]


def is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False).encode()
    except Exception:
        return False
    return True


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each member of an object: what holds it, and its key."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[str, Any]:
    path, good = draw(st.sampled_from(BODIES))
    body = copy.deepcopy(good)
    found = list(places(body))
    holder, key = found[draw(st.integers(0, len(found) - 1))]
    holder[key] = draw(ODD.filter(is_json))
    return path, body


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with LocalCluster() as cluster:
        shown = yaml.safe_load(cluster.kubeconfig.read_text())
        yield shown["clusters"][0]["cluster"]["server"]


async def status(url: str, method: str, path: str, body: Any = None, form: str = "json") -> int:
    data = None if body is None else json.dumps(body)
    headers = {"Content-Type": f"application/{form}"}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url + path, data=data, headers=headers) as answer,
    ):
        return answer.status


def test_an_object_that_cannot_be_read_is_refused(url: str) -> None:
    @settings(max_examples=120, suppress_health_check=list(HealthCheck))
    @given(spoiled())
    def play(sent: tuple[str, Any]) -> None:
        path, body = sent
        code = asyncio.run(status(url, "POST", f"{path}?dryRun=All", body))
        assert code in (201, 400, 403, 422), code

    play()


@pytest.mark.parametrize("address", ["x", "1.2.3", "\u0000", "é"])
def test_an_address_that_is_none_is_refused(url: str, address: str) -> None:
    body = {**SERVICE, "spec": {"clusterIP": address, "ports": [{"port": 1}]}}
    path = "/api/v1/namespaces/default/services"
    assert asyncio.run(status(url, "POST", path, body)) == 422


@pytest.mark.parametrize(
    "query", ["limit=x", "watch=1&timeoutSeconds=x", "watch=1&resourceVersion=x", "continue=x"]
)
def test_a_query_that_cannot_be_read_is_refused(url: str, query: str) -> None:
    assert asyncio.run(status(url, "GET", f"{PODS}?{query}")) == 400


def test_what_is_no_patch_is_refused(url: str) -> None:
    made = {"metadata": {"name": "patched"}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    assert asyncio.run(status(url, "POST", PODS, made)) == 201
    bad = [
        *(5, "x", [None], [{}], [{"op": "add"}], [{"op": "x", "path": "/a"}]),
        *([{"op": "add", "path": 5, "value": 1}], [{"op": "add", "path": "/spec", "value": "x"}]),
        *([{"op": "replace", "path": "", "value": "x"}], {"spec": {"containers": [5, None]}}),
        *({"metadata": 5}, {"spec": {"containers": "x"}}, {"metadata": {"labels": ["a"]}}),
    ]
    for form in ("json-patch", "merge-patch", "strategic-merge-patch"):
        for body in bad:
            code = asyncio.run(status(url, "PATCH", f"{PODS}/patched", body, f"{form}+json"))
            assert code in (200, 400, 422), (form, body, code)


@pytest.mark.parametrize("body", [5, [1], {"gracePeriodSeconds": "x"}, {"preconditions": 5}])
def test_what_are_no_options_is_refused(url: str, body: Any) -> None:
    assert asyncio.run(status(url, "DELETE", f"{PODS}/nobody", body)) == 400
    assert asyncio.run(status(url, "DELETE", f"{PODS}/nobody?gracePeriodSeconds=x")) == 400
