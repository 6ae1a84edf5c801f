"""What podfleet relies on of the Kubernetes API: one test for each, on both clusters.

The first line of each says it in a sentence; docs/kubernetes.md lists them.
"""

import base64
import json
import ssl
import urllib.request
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
from attrs import field, frozen

from podfleet.testing import eventually
from tests.cluster.fixtures import Backend, LiveCluster
from tests.live.cordons import cordoned


@frozen
class Answer:
    """A status code and the JSON that came with it."""

    code: int
    body: Any

    @property
    def refusal(self) -> tuple[int, str]:
        return self.code, self.body["reason"]

    @property
    def version(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])


@frozen
class Api:
    """Sends plain requests about one namespace, as the administrator.

    Args:
        cluster: The cluster.
        namespace: The namespace.
        token: In place of the administrator's.
    """

    cluster: LiveCluster
    namespace: str
    token: str | None = None
    _config: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_config", json.loads(self.cluster.kubeconfig.read_text()))

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "json",
        **query: str,
    ) -> Answer:
        """Send one; a path that begins with a letter is of the core's, in the namespace."""
        with self.open(method, path, body, kind, **query) as answer:
            return Answer(answer.status, json.loads(answer.read()))

    def open(
        self, method: str, path: str, body: Any = None, kind: str = "json", **query: str
    ) -> Any:
        """Send one; return what can be read of the answer as it comes."""
        server = self._config["clusters"][0]["cluster"]
        if not path.startswith("/"):
            path = f"/api/v1/namespaces/{self.namespace}/{path}"
        request = urllib.request.Request(
            f"{server['server']}{path}?{urlencode(query)}",
            None if body is None else json.dumps(body).encode(),
            method=method,
        )
        token = self.token or self._config["users"][0]["user"]["token"]
        request.add_header("Authorization", f"Bearer {token}")
        request.add_header("Content-Type", f"application/{kind}")
        trust = None
        if server["server"].startswith("https"):
            data = base64.b64decode(server.get("certificate-authority-data", "")).decode()
            trust = ssl.create_default_context(
                cafile=server.get("certificate-authority"), cadata=data or None
            )
        try:
            return urllib.request.urlopen(request, timeout=30, context=trust)
        except HTTPError as error:
            return error

    def patch(self, path: str, *operations: Mapping[str, Any]) -> Answer:
        """Send a JSON patch."""
        return self("PATCH", path, list(operations), "json-patch+json")

    def events(self, path: str, **query: str) -> list[tuple[str, Any]]:
        """Return the events of a watch that ends by itself."""
        with self.open("GET", path, watch="true", **query) as answer:
            told = [json.loads(line) for line in answer]
        return [(event["type"], event["object"]) for event in told]


@pytest.fixture
def api(cluster: LiveCluster, namespace: str) -> Api:
    return Api(cluster, namespace)


def a_map(name: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "data": {"map": "dust"}}


def a_pod(api: Api, name: str = "arena", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "server", "image": api.cluster.image}]
    defaults = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5}
    return {"metadata": {"name": name}, "spec": {"containers": containers, **defaults, **spec}}


def nowhere(api: Api, name: str = "arena") -> dict[str, Any]:
    """Return a Pod that no Node takes."""
    return a_pod(api, name, nodeSelector={"podfleet.dev/test": "no-such-node"})


def names(answer: Answer) -> list[str]:
    return [one["metadata"]["name"] for one in answer.body["items"] or []]


def test_created(api: Api) -> None:
    """answers a create with 201, a uid, a resourceVersion and the time."""
    made = api("POST", "configmaps", a_map("one"))
    assert made.code == 201
    metadata = made.body["metadata"]
    assert uuid.UUID(metadata["uid"])
    assert int(metadata["resourceVersion"]) > 0
    assert metadata["creationTimestamp"].endswith("Z")


def test_name_taken(api: Api) -> None:
    """refuses a second object of one name with 409 AlreadyExists."""
    api("POST", "configmaps", a_map("one"))
    again = api("POST", "configmaps", a_map("one"))
    assert again.refusal == (409, "AlreadyExists")
    assert again.body["message"] == 'configmaps "one" already exists'


def test_generate_name(api: Api) -> None:
    """chooses a name that begins with generateName."""
    body = {"metadata": {"generateName": "map-"}}
    found = {api("POST", "configmaps", body).body["metadata"]["name"] for _ in range(3)}
    assert len(found) == 3
    assert all(len(name) == len("map-") + 5 and name.startswith("map-") for name in found)


def test_not_found(api: Api) -> None:
    """says of what is not there 404 NotFound, with its kind and name."""
    missing = api("GET", "pods/nobody")
    assert missing.refusal == (404, "NotFound")
    assert missing.body["message"] == 'pods "nobody" not found'
    details = missing.body["details"]
    assert (details["name"], details["kind"]) == ("nobody", "pods")


def test_namespace_not_found(api: Api) -> None:
    """refuses to create in a namespace that is not there with 404 NotFound."""
    path = "/api/v1/namespaces/podfleet-nowhere/configmaps"
    assert api("POST", path, a_map("one")).refusal == (404, "NotFound")


def test_namespace_ending(api: Api) -> None:
    """refuses to create in a namespace that is ending with the cause NamespaceTerminating."""
    api("POST", "configmaps", a_map("held", finalizers=["podfleet.dev/held"]))
    api("DELETE", f"/api/v1/namespaces/{api.namespace}")
    try:
        refused = api("POST", "configmaps", a_map("late"))
        assert refused.refusal == (403, "Forbidden")
        (cause,) = refused.body["details"]["causes"]
        assert cause["reason"] == "NamespaceTerminating"
    finally:
        api.patch("configmaps/held", {"op": "remove", "path": "/metadata/finalizers"})


def test_no_service_account(api: Api) -> None:
    """refuses a Pod whose ServiceAccount is not there with 403 Forbidden, and names that."""
    refused = api("POST", "pods", a_pod(api, serviceAccountName="players"))
    assert refused.refusal == (403, "Forbidden")
    why = f'error looking up service account {api.namespace}/players: serviceaccount "players" not'
    assert why in refused.body["message"]


def test_invalid_name(api: Api) -> None:
    """refuses a name that cannot be with 422 Invalid, and names the field."""
    refused = api("POST", "pods", a_pod(api, "Not_A_Name"))
    assert refused.refusal == (422, "Invalid")
    assert refused.body["details"]["causes"][0]["field"] == "metadata.name"


def test_replace_conflict(api: Api) -> None:
    """refuses to replace what was written meanwhile with 409 Conflict."""
    before = api("POST", "configmaps", a_map("one")).body
    after = {**before, "data": {"map": "aztec"}}
    assert api("PUT", "configmaps/one", after).code == 200
    assert api("PUT", "configmaps/one", before).refusal == (409, "Conflict")


def test_version_grows(api: Api) -> None:
    """gives every write a greater resourceVersion."""
    versions = [int(api("POST", "configmaps", a_map("one")).version)]
    for count in range(3):
        changed = api.patch(
            "configmaps/one", {"op": "add", "path": "/data/count", "value": str(count)}
        )
        versions.append(int(changed.version))
    assert versions == sorted(set(versions))


def test_no_change_no_version(api: Api) -> None:
    """keeps the resourceVersion where a patch changes nothing."""
    before = api("POST", "configmaps", a_map("one"))
    same = api.patch("configmaps/one", {"op": "replace", "path": "/data/map", "value": "dust"})
    assert same.version == before.version


def test_patch_test_fails(api: Api) -> None:
    """refuses a JSON patch whose test fails with 422 Invalid, and changes nothing."""
    before = api("POST", "configmaps", a_map("one"))
    refused = api.patch(
        "configmaps/one",
        {"op": "replace", "path": "/data/map", "value": "aztec"},
        {"op": "test", "path": "/data/map", "value": "dust"},
    )
    assert refused.refusal == (422, "Invalid")
    assert api("GET", "configmaps/one").version == before.version


def test_patch_test_passes(api: Api) -> None:
    """carries out a JSON patch whose test holds, as one write."""
    api("POST", "configmaps", a_map("one"))
    done = api.patch(
        "configmaps/one",
        {"op": "test", "path": "/data/map", "value": "dust"},
        {"op": "replace", "path": "/data/map", "value": "aztec"},
    )
    assert (done.code, done.body["data"]) == (200, {"map": "aztec"})


def test_patch_of_managed_fields(api: Api) -> None:
    """forgets who wrote which field if a patch clears managedFields, and what comes later too."""
    made = api("POST", "configmaps", a_map("one", labels={"color": "blue"})).body
    forget = {"op": "add", "path": "/metadata/managedFields", "value": [{}]}
    for color, first in ("red", [forget]), ("green", []):
        paint = {"op": "replace", "path": "/metadata/labels/color", "value": color}
        now = api.patch("configmaps/one", *first, paint).body
        wanted = {**made["metadata"], "labels": {"color": color}}
        wanted["resourceVersion"] = now["metadata"]["resourceVersion"]
        wanted.pop("managedFields", None)
        assert now == {**made, "metadata": wanted}


def test_patch_of_nothing(api: Api) -> None:
    """refuses a JSON patch of a path that is not there with 422 Invalid."""
    api("POST", "configmaps", a_map("one"))
    for operation in ("replace", "remove"):
        patch = {"op": operation, "path": "/metadata/annotations/none", "value": "x"}
        assert api.patch("configmaps/one", patch).refusal == (422, "Invalid")


def test_merge_patch(api: Api) -> None:
    """removes by a merge patch what is null in it."""
    api("POST", "configmaps", a_map("one"))
    body = {"data": {"map": None, "mode": "duel"}}
    done = api("PATCH", "configmaps/one", body, "merge-patch+json")
    assert (done.code, done.body["data"]) == (200, {"mode": "duel"})


def test_apply(api: Api) -> None:
    """makes by a server-side apply what is missing, and removes what the next one leaves out."""
    about = {"apiVersion": "v1", "kind": "ConfigMap"}
    query = {"fieldManager": "podfleet-test", "force": "true"}
    path, kind = "configmaps/one", "apply-patch+yaml"
    wanted = {**about, "metadata": {"name": "one"}, "data": {"a": "1", "b": "2"}}
    assert api("PATCH", path, wanted, kind, **query).code == 201
    wanted["data"] = {"a": "3"}
    done = api("PATCH", path, wanted, kind, **query)
    assert (done.code, done.body["data"]) == (200, {"a": "3"})


def test_dry_run(api: Api) -> None:
    """stores nothing of a create with dryRun=All, and refuses what it would refuse."""
    assert api("POST", "configmaps", a_map("one"), dryRun="All").code == 201
    assert api("GET", "configmaps/one").code == 404
    assert api("POST", "configmaps", a_map("Not_A_Name"), dryRun="All").code == 422


def test_status_apart(api: Api) -> None:
    """ignores the status where an object is written, and the spec where its status is."""
    api("POST", "pods", nowhere(api))
    reason = {"op": "add", "path": "/status/reason", "value": "Mine"}
    api.patch("pods/arena", reason)
    assert "reason" not in api("GET", "pods/arena").body["status"]
    deadline = {"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 60}
    shown = api.patch("pods/arena/status", reason, deadline).body
    assert shown["status"]["reason"] == "Mine"
    assert "activeDeadlineSeconds" not in shown["spec"]


def test_delete_uid(api: Api) -> None:
    """refuses to delete an object of another uid with 409 Conflict."""
    api("POST", "configmaps", a_map("one"))
    body = {"preconditions": {"uid": str(uuid.uuid4())}}
    assert api("DELETE", "configmaps/one", body).refusal == (409, "Conflict")
    assert api("GET", "configmaps/one").code == 200


def test_delete_version(api: Api) -> None:
    """refuses to delete an object that was written meanwhile with 409 Conflict."""
    before = api("POST", "configmaps", a_map("one"))
    api.patch("configmaps/one", {"op": "add", "path": "/data/a", "value": "b"})
    body = {"preconditions": {"resourceVersion": before.version}}
    assert api("DELETE", "configmaps/one", body).refusal == (409, "Conflict")


def test_delete_unscheduled(api: Api) -> None:
    """removes a Pod at once that is on no Node."""
    api("POST", "pods", nowhere(api))
    assert api("DELETE", "pods/arena").code == 200
    assert api("GET", "pods/arena").code == 404


def test_delete_running(api: Api) -> None:
    """gives a running Pod its grace period: it stays, with a deletionTimestamp, until it ended."""
    api("POST", "pods", a_pod(api))
    eventually(lambda: api("GET", "pods/arena").body["status"]["phase"] == "Running")
    deleted = api("DELETE", "pods/arena")
    assert deleted.code == 200
    assert deleted.body["metadata"]["deletionGracePeriodSeconds"] == 5
    assert deleted.body["metadata"]["deletionTimestamp"]
    eventually(lambda: api("GET", "pods/arena").code == 404)


def test_finalizers(api: Api) -> None:
    """keeps an object with a finalizer until that is taken away."""
    api("POST", "configmaps", a_map("one", finalizers=["podfleet.dev/test"]))
    api("DELETE", "configmaps/one")
    assert api("GET", "configmaps/one").body["metadata"]["deletionTimestamp"]
    api.patch("configmaps/one", {"op": "remove", "path": "/metadata/finalizers"})
    assert api("GET", "configmaps/one").code == 404


def test_owner(api: Api) -> None:
    """removes what an object owns once that is gone, and what is owned by none that is there."""
    owner = api("POST", "configmaps", a_map("owner")).body["metadata"]["uid"]
    for name, uid in (("owned", owner), ("orphan", str(uuid.uuid4()))):
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
        api("POST", "configmaps", a_map(name, ownerReferences=[reference]))
    eventually(lambda: api("GET", "configmaps/orphan").code == 404, 60)
    assert api("GET", "configmaps/owned").code == 200
    api("DELETE", "configmaps/owner")
    eventually(lambda: api("GET", "configmaps/owned").code == 404, 60)


def test_label_selectors(api: Api) -> None:
    """lists by labels: equal, unequal, in a set, there, and not there."""
    for name, labels in (("a", {"map": "dust"}), ("b", {"map": "aztec", "full": "yes"})):
        api("POST", "configmaps", a_map(name, labels=labels))
    for selector, found in (
        ("map=dust", ["a"]),
        ("map!=dust,map", ["b"]),
        ("map in (dust,aztec)", ["a", "b"]),
        ("map,!full", ["a"]),
        ("full", ["b"]),
    ):
        assert names(api("GET", "configmaps", labelSelector=selector)) == found, selector


def test_field_selectors(api: Api) -> None:
    """lists by name, and Pods by phase and Node; refuses other fields with 400 BadRequest."""
    api("POST", "pods", nowhere(api, "a"))
    api("POST", "pods", nowhere(api, "b"))
    assert names(api("GET", "pods", fieldSelector="metadata.name=a")) == ["a"]
    assert names(api("GET", "pods", fieldSelector="status.phase=Pending")) == ["a", "b"]
    assert names(api("GET", "pods", fieldSelector="spec.nodeName!=")) == []
    refused = api("GET", "pods", fieldSelector="spec.hostname=a")
    assert refused.refusal == (400, "BadRequest")


def test_paging(api: Api) -> None:
    """lists in pages of one resourceVersion, whatever is written in between."""
    for number in range(5):
        api("POST", "configmaps", a_map(f"map-{number}", labels={"paged": "yes"}))
    query = {"labelSelector": "paged=yes", "limit": "2"}
    first = api("GET", "configmaps", **query)
    api("DELETE", "configmaps/map-4")
    second = api("GET", "configmaps", **query, **{"continue": first.body["metadata"]["continue"]})
    token = second.body["metadata"]["continue"]
    third = api("GET", "configmaps", **query, **{"continue": token})
    assert names(first) + names(second) + names(third) == [f"map-{n}" for n in range(5)]
    assert first.version == second.version == third.version
    assert not third.body["metadata"].get("continue")


def test_watch(api: Api) -> None:
    """tells in a watch every change after a version, in order, and ends it when its time is up."""
    since = api("GET", "configmaps").version
    api("POST", "configmaps", a_map("one"))
    api.patch("configmaps/one", {"op": "add", "path": "/data/a", "value": "b"})
    api("DELETE", "configmaps/one")
    events = api.events("configmaps", resourceVersion=since, timeoutSeconds="1")
    mine = [(kind, one) for kind, one in events if one["metadata"].get("name") == "one"]
    assert [kind for kind, _ in mine] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(one["metadata"]["resourceVersion"]) for _, one in mine]
    assert versions == sorted(set(versions))


def test_watch_by_label(api: Api) -> None:
    """tells a watch by labels that an object was deleted, when it has those labels no more."""
    made = api("POST", "configmaps", a_map("one", labels={"state": "free"}))
    api("PATCH", "configmaps/one", {"metadata": {"labels": {"state": "taken"}}}, "merge-patch+json")
    query = {"labelSelector": "state=free", "timeoutSeconds": "1"}
    events = api.events("configmaps", resourceVersion=made.version, **query)
    assert [kind for kind, _ in events] == ["DELETED"]


def test_watch_of_cordoned_nodes(api: Api) -> None:
    """tells a watch of cordoned Nodes that one was added by a cordon, and deleted by its end."""
    nodes, query = "/api/v1/nodes", {"fieldSelector": "spec.unschedulable=true"}
    (first, *_) = api.cluster.nodes()
    name = first["metadata"]["name"]
    before = api("GET", nodes, **query)
    assert names(before) == []
    with cordoned(api.cluster, name):
        assert names(api("GET", nodes, **query)) == [name]
    assert names(api("GET", nodes, **query)) == []
    since = before.body["metadata"]["resourceVersion"]
    events = api.events(nodes, resourceVersion=since, timeoutSeconds="1", **query)
    assert {one["metadata"]["name"] for _, one in events} == {name}
    kinds = [kind for kind, _ in events]
    assert (kinds[0], kinds[-1], kinds.count("DELETED")) == ("ADDED", "DELETED", 1)


@pytest.mark.only("embedded", "a young API server still knows everything")
def test_watch_too_old(api: Api) -> None:
    """ends a watch from a version that was compacted away with an event: 410 Expired."""
    for number in range(2):
        api("POST", "configmaps", a_map(f"map-{number}"))
    assert api.cluster.local is not None
    api.cluster.local.compact()
    ((kind, told),) = api.events("configmaps", resourceVersion="1", timeoutSeconds="5")
    assert (kind, told["code"], told["reason"]) == ("ERROR", 410, "Expired")


def test_initial_events(api: Api) -> None:
    """begins a watch without a version with all that there is."""
    api("POST", "configmaps", a_map("one"))
    events = api.events("configmaps", timeoutSeconds="1")
    assert ("ADDED", "one") in [(kind, one["metadata"]["name"]) for kind, one in events]


def ports(*wanted: tuple[str, int, int | None]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{protocol.lower()}-{port}",
            "protocol": protocol,
            "port": port,
            **({"nodePort": number} if number else {}),
        }
        for protocol, port, number in wanted
    ]


def a_service(name: str, *wanted: tuple[str, int, int | None]) -> dict[str, Any]:
    spec = {"type": "NodePort", "selector": {"app": "none"}, "ports": ports(*wanted)}
    return {"metadata": {"name": name}, "spec": spec}


def test_node_port_of_both_protocols(api: Api) -> None:
    """gives a port of a Service one NodePort for TCP and UDP."""
    made = api("POST", "services", a_service("one", ("TCP", 7777, None), ("UDP", 7777, None)))
    first, second = (one["nodePort"] for one in made.body["spec"]["ports"])
    assert first == second
    assert 30000 <= first <= 32767


def test_node_port_taken(api: Api) -> None:
    """refuses a NodePort that another Service has with 422 Invalid."""
    made = api("POST", "services", a_service("one", ("TCP", 7777, None)))
    (port,) = made.body["spec"]["ports"]
    refused = api("POST", "services", a_service("two", ("TCP", 7777, port["nodePort"])))
    assert refused.refusal == (422, "Invalid")
    assert "provided port is already allocated" in refused.body["message"]
    (cause,) = refused.body["details"]["causes"]
    assert cause["field"] == "spec.ports[0].nodePort"


def test_node_port_out_of_range(api: Api) -> None:
    """refuses a NodePort outside of its range with 422 Invalid, and tells the range."""
    refused = api("POST", "services", a_service("one", ("TCP", 7777, 29999)))
    assert refused.refusal == (422, "Invalid")
    assert "The range of valid ports is 30000-32767" in refused.body["message"]


def test_headless(api: Api) -> None:
    """gives a Service with clusterIP None no address."""
    spec = {"clusterIP": "None", "selector": {"app": "none"}}
    made = api("POST", "services", {"metadata": {"name": "one"}, "spec": spec})
    assert (made.code, made.body["spec"]["clusterIP"]) == (201, "None")


def test_lease(api: Api) -> None:
    """lets only one of two take a Lease that both have read."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15}
    read = api("POST", path, {"metadata": {"name": "tending"}, "spec": spec}).body
    taken = {**read, "spec": {**spec, "holderIdentity": "b"}}
    assert api("PUT", f"{path}/tending", taken).code == 200
    late = {**read, "spec": {**spec, "holderIdentity": "c"}}
    assert api("PUT", f"{path}/tending", late).refusal == (409, "Conflict")


def test_quota(api: Api) -> None:
    """refuses what a quota does not leave room for with 403 Forbidden, and names the quota."""
    hard = {"count/configmaps": "0"}
    api("POST", "resourcequotas", {"metadata": {"name": "none"}, "spec": {"hard": hard}})

    def refused() -> Answer | None:
        answer = api("POST", "configmaps", {"metadata": {"generateName": "map-"}})
        return answer if answer.code == 403 else None

    answer = eventually(refused)
    assert answer is not None
    assert answer.refusal == (403, "Forbidden")
    assert "exceeded quota: none" in answer.body["message"]


def test_wrong_token(api: Api) -> None:
    """says to a token that nobody has 401 Unauthorized."""
    assert Api(api.cluster, api.namespace, "guess")("GET", "pods").refusal == (401, "Unauthorized")


def test_missing_right(backend: Backend) -> None:
    """refuses for want of a right with 403 Forbidden, and says which."""
    token = json.loads(backend.kubeconfig.read_text())["users"][0]["user"]["token"]
    refused = Api(backend.cluster, backend.namespace, token)("GET", "pods")
    assert refused.refusal == (403, "Forbidden")
    assert 'cannot list resource "pods" in API group "" in the namespace' in refused.body["message"]


def test_review(backend: Backend) -> None:
    """answers whoever asks for their own rights."""
    token = json.loads(backend.kubeconfig.read_text())["users"][0]["user"]["token"]
    about = {"verb": "list", "resource": "pods", "namespace": backend.namespace}
    body = {"spec": {"resourceAttributes": about}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    for who, allowed in ((token, False), (None, True)):
        answer = Api(backend.cluster, backend.namespace, who)("POST", path, body)
        assert (answer.code, answer.body["status"]["allowed"]) == (201, allowed)
