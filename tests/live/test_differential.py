"""Random requests, sent to a real API server and to the embedded one: the answers are the same."""

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podfleet.local import LocalCluster
from podfleet.testing.gameserver import IMAGE, gameserver
from tests.cluster.fixtures import LiveCluster
from tests.live.test_api_behaviours import Answer, Api

pytestmark = pytest.mark.only("real", "it compares both")

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
PLURALS = ("configmaps", "services", "pods", LEASES)

ROOT = "kube-root-ca.crt"  # a ConfigMap that the real one puts into every namespace

NAMES = st.sampled_from(["a", "b", "a.b", "Not_A_Name", "-a", "x" * 64])
LABELS = st.dictionaries(
    st.sampled_from(["map", "podfleet.dev/state", "bad key", "/x"]),
    st.sampled_from(["dust", "", "a b", "x" * 64]),
    max_size=2,
)
SPECS: dict[str, st.SearchStrategy[Any]] = {
    "configmaps": st.fixed_dictionaries(
        {}, optional={"data": st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"))}
    ),
    "services": st.fixed_dictionaries(
        {
            "spec": st.fixed_dictionaries(
                {"selector": st.just({"app": "none"})},
                optional={
                    "type": st.sampled_from(["ClusterIP", "NodePort", "Nonsense"]),
                    "clusterIP": st.just("None"),
                    "ports": st.lists(
                        st.fixed_dictionaries(
                            {"port": st.sampled_from([7777, 7778, 0, 70000])},
                            optional={
                                "name": st.sampled_from(["game", "chat"]),
                                "protocol": st.sampled_from(["TCP", "UDP", "QUIC"]),
                            },
                        ),
                        max_size=2,
                    ),
                },
            )
        }
    ),
    "pods": st.fixed_dictionaries(
        {
            "spec": st.fixed_dictionaries(
                {
                    "nodeSelector": st.just({"podfleet.dev/test": "no-such-node"}),
                    "containers": st.lists(
                        st.fixed_dictionaries(
                            {"name": st.sampled_from(["server", "Bad_Name"])},
                            optional={
                                "image": st.sampled_from(["arena:1", " arena"]),
                                "ports": st.lists(
                                    st.fixed_dictionaries(
                                        {"containerPort": st.sampled_from([7777, 0, 70000])},
                                        optional={"hostPort": st.sampled_from([31000, 70000])},
                                    ),
                                    max_size=2,
                                ),
                            },
                        ),
                        max_size=2,
                    ),
                },
                optional={
                    "restartPolicy": st.sampled_from(["Never", "Always", "Sometimes"]),
                    "hostname": st.sampled_from(["a", "A"]),
                    "activeDeadlineSeconds": st.sampled_from([60, 0]),
                },
            )
        }
    ),
    LEASES: st.fixed_dictionaries(
        {}, optional={"spec": st.fixed_dictionaries({"holderIdentity": st.sampled_from("xy")})}
    ),
}
PATHS = st.sampled_from(
    [
        "/metadata/labels",
        "/metadata/labels/map",
        "/metadata/annotations",
        "/metadata/name",
        "/data",
        "/data/x",
        "/none/none",
        "/spec/activeDeadlineSeconds",
        "",
        "none",
    ]
)
OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["add", "remove", "replace", "test", "none"]),
            "path": PATHS,
            "value": st.sampled_from(["dust", {"map": "dust"}, None, 60]),
        }
    ),
    max_size=3,
)


@frozen
class Step:
    """A request; what it says of versions and uids is put in when it is sent.

    Args:
        verb: What to do.
        plural: To what.
        name: To which.
        body: What to send.
        past: Whether to be based on what is past.
    """

    verb: str
    plural: str
    name: str
    body: Any = None
    past: bool = False


@st.composite
def steps(draw: st.DrawFn) -> Step:
    verb = draw(
        st.sampled_from(["create"] * 3 + ["get", "list", "replace", "json", "merge", "delete"])
    )
    plural = draw(st.sampled_from(PLURALS))
    name = draw(NAMES if verb == "create" else st.sampled_from(["a", "b", "nobody"]))
    past = draw(st.booleans())
    if verb == "json":
        return Step(verb, plural, name, draw(OPERATIONS), past)
    body = draw(SPECS[plural]) | {"metadata": {"name": name, "labels": draw(LABELS)}}
    if verb == "merge" and plural == "pods":
        body.pop("spec")  # what may be changed of it is a chapter of its own
    return Step(verb, plural, name, body, past)


def send(api: Api, step: Step, seen: dict[str, Any]) -> Answer:
    """Send a step; remember what an object was when it was made."""
    collection = step.plural.format(namespace=api.namespace)
    path = f"{collection}/{step.name or 'nobody'}"
    first = seen.get(path, {"metadata": {"uid": str(uuid.uuid4()), "resourceVersion": "1"}})
    body = copy.deepcopy(step.body)
    if step.verb == "create":
        answer = api("POST", collection, body)
        if answer.code == 201:
            seen[path] = answer.body
        return answer
    if step.verb == "list":
        return api("GET", collection, labelSelector="map=dust" if step.past else "")
    if step.verb == "replace":
        if step.past:
            body["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"]
        return api("PUT", path, body)
    if step.verb == "delete":
        key = "uid" if step.past else "resourceVersion"
        return api("DELETE", path, {"preconditions": {key: first["metadata"][key]}})
    if step.verb == "json":
        return api("PATCH", path, body, "json-patch+json")
    if step.verb == "merge":
        return api("PATCH", path, body, "merge-patch+json")
    return api("GET", path)


def essence(step: Step, answer: Answer) -> Any:
    """Return what of an answer has to be the same."""
    body = answer.body
    if answer.code >= 400:
        causes = (body.get("details") or {}).get("causes") or []
        return answer.code, body.get("reason"), sorted({one.get("field", "") for one in causes})
    if step.verb == "list":
        items = [one for one in body["items"] or [] if one["metadata"]["name"] != ROOT]
        return answer.code, [shape(one) for one in items]
    return answer.code, shape(body) if step.verb != "delete" else None


def shape(shown: Any) -> Any:
    """Return what is asked for of an object, without what the server chose."""
    spec = copy.deepcopy(shown.get("spec") or {})
    listed = [
        {key: value for key, value in port.items() if key != "nodePort"}
        for port in spec.get("ports") or []
    ]
    metadata = shown["metadata"]
    kept = ("type", "selector", "restartPolicy", "hostname", "holderIdentity", "replicas")
    return (
        metadata["name"],
        metadata.get("labels") or {},
        metadata.get("annotations") or {},
        shown.get("data") or {},
        listed,
        {key: spec[key] for key in kept if key in spec},
        [one.get("ports") or [] for one in spec.get("containers") or []],
    )


@pytest.fixture(scope="module")
def embedded() -> Iterator[LiveCluster]:
    with LocalCluster({IMAGE: gameserver}) as local:
        cluster = LiveCluster(local.kubeconfig, IMAGE, local=local)
        yield cluster
        cluster.close()


@pytest.fixture
def both(cluster: LiveCluster, embedded: LiveCluster, namespace: str) -> Iterator[tuple[Api, Api]]:
    with embedded.place() as place:
        yield Api(cluster, namespace), Api(embedded, place.namespace)


POD = {"containers": [{"name": "server", "image": "arena:1"}]}


@settings(
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sequence=st.lists(steps(), min_size=3, max_size=12))
def test_the_answers_are_the_same(both: tuple[Api, Api], sequence: list[Step]) -> None:
    try:
        known: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        told = []
        for step in sequence:
            answers = [send(api, step, seen) for api, seen in zip(both, known, strict=True)]
            told.append((step, *(essence(step, answer) for answer in answers)))
            _, real, embedded = told[-1]
            assert real == embedded, [answer.body for answer in answers]
    finally:
        for api in both:
            clear(api)


def clear(api: Api) -> None:
    for plural in PLURALS:
        collection = plural.format(namespace=api.namespace)
        for one in api("GET", collection).body["items"] or []:
            api("DELETE", f"{collection}/{one['metadata']['name']}")
