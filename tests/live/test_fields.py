"""Fields that nobody knows, values of another type and nulls: the same answers on any cluster."""

import asyncio
from typing import Any

import pytest

from podfleet import Cluster, Fleet, GameServerTemplate, Invalid, Port
from podfleet.kube import KubeClient
from podfleet.testing.cluster import TestCluster
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make

CANNOT = 'Pod in version "v1" cannot be handled as a Pod: '


def ask(cluster: TestCluster, namespace: str, body: Any, **query: str) -> str:
    """Return what the API server says of a Pod that is only to be checked."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    given = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "arena-1"}, **body}

    async def dry_run() -> str:
        client = KubeClient(Cluster(kubeconfig=cluster.kubeconfig))
        try:
            await client.ask(path, given, {"dryRun": "All", **query})
        except Invalid as error:
            return str(error)
        finally:
            await client.close()
        return ""

    return asyncio.run(dry_run())


def test_a_misspelled_field_is_found_by_the_preflight(backend: Backend) -> None:
    pod = {"spec": {"container": [], "containers": [{"name": "server", "imagePullPolicee": "x"}]}}
    template = GameServerTemplate(image=backend.cluster.image, ports=[Port("game", 7777)], pod=pod)
    fleet = make(Fleet, backend, template=template)
    eventually(lambda: len(fleet.preflight()) == 1)
    (finding,) = fleet.preflight()
    assert 'unknown field "spec.container"' in finding.why
    assert 'unknown field "spec.containers[0].imagePullPolicee"' in finding.why


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"containers": "x"}, "string into Go struct field PodSpec.spec.containers of type []v1."),
        ({"containers": ["x"]}, "string into Go struct field PodSpec.spec.containers of type v1."),
        ({"hostNetwork": "x"}, "string into Go struct field PodSpec.spec.hostNetwork of type bool"),
        (
            {"nodeSelector": {"a": 1}},
            "number into Go struct field PodSpec.spec.nodeSelector of typ",
        ),
        (
            {"terminationGracePeriodSeconds": "5"},
            "string into Go struct field PodSpec.spec.termina",
        ),
        (
            {"volumes": {"a": 1}},
            "object into Go struct field PodSpec.spec.volumes of type []v1.",
        ),
    ],
)
def test_a_value_of_another_type_is_refused(backend: Backend, spec: Any, words: str) -> None:
    containers = [{"name": "server", "image": "a"}]
    said = ask(backend.cluster, backend.namespace, {"spec": {"containers": containers, **spec}})
    assert f"{CANNOT}json: cannot unmarshal {words}" in said


def test_nulls_are_fields_that_are_not_there(backend: Backend) -> None:
    container = {"name": "server", "image": "a", "args": None, "env": None, "ports": None}
    body = {
        "metadata": {"name": "arena-1", "labels": None, "annotations": {"note": None}},
        "spec": {"containers": [container], "volumes": None, "nodeSelector": {"disk": None}},
    }
    assert ask(backend.cluster, backend.namespace, body, fieldValidation="Strict") == ""


def test_a_template_with_nulls_runs(backend: Backend) -> None:
    container = {"name": "server", "args": None, "command": None, "env": None, "ports": None}
    pod = {
        "metadata": {"labels": None, "annotations": {"note": None}},
        "spec": {"containers": [container], "volumes": None, "tolerations": None},
    }
    template = GameServerTemplate(image=backend.cluster.image, ports=[Port("game", 7777)], pod=pod)
    with make(Fleet, backend, template=template) as fleet:
        server = fleet.allocate(timeout=30)
        assert server.annotations["note"] == ""
        assert server.endpoints
        server.release()
