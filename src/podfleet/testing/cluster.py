"""`TestCluster`: the cluster that tests run on, as its administrator sees it."""

from __future__ import annotations

import base64
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

from podfleet.errors import NotFound
from podfleet.kube import Cluster, KubeClient
from podfleet.kube.paths import object_path, pointer
from podfleet.local import LocalCluster
from podfleet.model import Manifest
from podfleet.model.manifest import name_of
from podfleet.model.names import SESSIONS
from podfleet.sync import Fleet
from podfleet.sync.portal import portal

__all__ = ["Place", "TestCluster", "eventually"]

_ACCOUNT = "backend"
_CLUSTER_WIDE = ("clusterroles", "clusterrolebindings")
_PAUSE = (0.002, 0.05)  # seconds between two looks: at first, and at the most
_CONTROLLERS = 120.0  # seconds: after an outage they try again ever more slowly
_T = TypeVar("_T")


@frozen
class Place:
    """A backend's place in the cluster: a namespace, and an account without rights in it.

    Args:
        cluster: The cluster, as its administrator.
        namespace: Made for a test, removed after it.
        kubeconfig: The account's.
    """

    cluster: TestCluster
    namespace: str
    kubeconfig: Path

    @property
    def image(self) -> str:
        """The image of the test game server."""
        return self.cluster.image

    @property
    def account(self) -> str:
        """The account, as ``fleet.manifests`` takes it."""
        return f"{self.namespace}/{_ACCOUNT}"

    def grant(self, fleet: Fleet) -> None:
        """Apply what an administrator applies, and return when the rights have come into force."""
        self.cluster.apply(fleet.manifests(self.account))
        eventually(lambda: not [f for f in fleet.preflight() if f.what.startswith("no right")])

    def objects(self, api_version: str, plural: str) -> list[Manifest]:
        """Return the namespace's objects of a kind."""
        return self.cluster.objects(api_version, plural, self.namespace)

    def delete(self, api_version: str, plural: str, name: str) -> None:
        """Delete an object behind the fleet's back."""
        self.cluster.delete(object_path(api_version, plural, self.namespace, name))

    def poison(self, pod: str) -> None:
        """Make unreadable what podfleet notes on a Pod."""
        self.cluster.poison(self.namespace, pod)


class TestCluster:
    """The cluster that tests run on, as its administrator.

    Args:
        kubeconfig: The administrator's.
        image: Where the cluster finds a game server that answers every datagram, and every
            line, with its Pod's name first.
        local: The embedded cluster, if it is that: to move its clock, kill servers, lose Nodes.
    """

    __test__ = False  # not a test, whatever pytest makes of its name

    def __init__(self, kubeconfig: Path, image: str, *, local: LocalCluster | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.image = image
        self.local = local
        self._client = KubeClient(Cluster(kubeconfig=kubeconfig))
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Give a fresh namespace with an account; both, and its rights, are removed after it."""
        name = f"podfleet-test-{uuid.uuid4().hex[:8]}"
        self._run(
            lambda client: client.create(
                "/api/v1/namespaces",
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
            )
        )
        try:
            # Every Pod gets the default account, and is refused until it is there.
            accounts = object_path("v1", "serviceaccounts", name)
            eventually(lambda: "default" in map(name_of, self._list(accounts)), _CONTROLLERS)
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _ACCOUNT}}
            self._run(lambda client: client.create(accounts, account))
            with tempfile.TemporaryDirectory(prefix="podfleet-") as folder:
                kubeconfig = Path(folder, "kubeconfig")
                kubeconfig.touch(mode=0o600)
                kubeconfig.write_text(self._run(lambda client: self._kubeconfig(client, name)))
                yield Place(self, name, kubeconfig)
        finally:
            self._remove(name)

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Make objects as the manifests say, whether they exist or not."""
        for manifest in manifests:
            path = self._path_of(manifest)
            self._run(lambda client, path=path, one=manifest: client.apply(path, one))  # type: ignore[misc]

    def objects(self, api_version: str, plural: str, namespace: str | None) -> list[Manifest]:
        """Return objects of a kind, of a namespace or without one."""
        return self._list(object_path(api_version, plural, namespace))

    def get(self, api_version: str, plural: str, namespace: str | None, name: str) -> Manifest:
        """Return one object.

        Raises:
            NotFound: There is none of that name.
        """
        path = object_path(api_version, plural, namespace, name)
        return self._run(lambda client: client.get(path))

    def create(self, manifest: Manifest) -> None:
        """Make an object under a name that the API server may choose."""
        path = self._path_of(manifest, collection=True)
        self._run(lambda client: client.ask(path, manifest))

    def patch(self, path: str, *operations: Mapping[str, Any]) -> Manifest:
        """Apply the operations of a JSON patch to the object of that path."""
        return self._run(lambda client: client.patch(path, operations, done=lambda _: False))

    def label(self, path: str, key: str, value: str) -> None:
        """Set a label."""
        self.patch(path, {"op": "add", "path": pointer("metadata", "labels", key), "value": value})

    def poison(self, namespace: str, pod: str) -> None:
        """Make unreadable what podfleet notes on a Pod: the annotation of its sessions."""
        path = pointer("metadata", "annotations", SESSIONS)
        found = {"op": "add", "path": path, "value": "no JSON"}
        self.patch(object_path("v1", "pods", namespace, pod), found)

    def log(self, namespace: str, pod: str) -> str:
        """Return what a Pod's one container printed."""
        path = object_path("v1", "pods", namespace, pod)
        return self._run(lambda client: client.text(f"{path}/log"))

    def delete(self, path: str, *, grace: int | None = None) -> bool:
        """Delete an object; ``False`` if there is none."""
        return self._run(lambda client: client.delete(path, uid=None, grace=grace))

    def _list(self, path: str) -> list[Manifest]:
        return list(self._run(lambda client: client.get(path))["items"])

    def _remove(self, namespace: str) -> None:
        for plural in _CLUSTER_WIDE:
            collection = object_path("rbac.authorization.k8s.io/v1", plural)
            for item in self._list(collection):
                if name_of(item).endswith(f"-{namespace}"):
                    self.delete(f"{collection}/{name_of(item)}")
        self.delete(object_path("v1", "namespaces", name=namespace))

    async def _kubeconfig(self, client: KubeClient, namespace: str) -> str:
        account = object_path("v1", "serviceaccounts", namespace, _ACCOUNT)
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = (await client.ask(f"{account}/token", request))["status"]["token"]
        configuration = (await client.connect()).configuration
        server = configuration.host
        if self.local is not None:  # its URL ends in a token: the administrator's, so far
            server = f"{server.rpartition('/')[0]}/{token}"
        cluster = {"server": server}
        if configuration.ca_cert_data:
            authority = configuration.ca_cert_data.encode()
            cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
        context = {"cluster": "test", "user": _ACCOUNT, "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": _ACCOUNT, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": context}],
        }
        return json.dumps(config)

    def _path_of(self, manifest: Manifest, *, collection: bool = False) -> str:
        api_version = manifest["apiVersion"]
        kind = (api_version, manifest["kind"])
        if kind not in self._plurals:
            root = "/apis" if "/" in api_version else "/api"
            served = self._run(lambda client: client.get(f"{root}/{api_version}"))["resources"]
            for one in served:
                if "/" not in one["name"]:
                    self._plurals[api_version, one["kind"]] = (one["name"], one["namespaced"])
        plural, is_namespaced = self._plurals[kind]
        namespace = manifest["metadata"].get("namespace", "default") if is_namespaced else None
        object_name = None if collection else name_of(manifest)
        return object_path(api_version, plural, namespace, object_name)

    def close(self) -> None:
        """Close its connections; they are opened again when needed."""
        closed, self._client = self._client, KubeClient(Cluster(kubeconfig=self.kubeconfig))
        portal.run(closed.close())

    def _run(self, work: Callable[[KubeClient], Coroutine[Any, Any, _T]]) -> _T:
        return portal.run(work(self._client))


def eventually(condition: Callable[[], _T], timeout: float = 30.0) -> _T:
    """Return what the condition gives as soon as that is true.

    Raises:
        AssertionError: It never was within the timeout, in seconds.
    """
    deadline = time.monotonic() + timeout
    pause = _PAUSE[0]
    while True:
        try:
            found = condition()
        except (NotFound, OSError) as error:
            found = error  # type: ignore[assignment]
        else:
            if found:
                return found
        assert time.monotonic() < deadline, f"still {found!r} after {timeout:g} s"
        time.sleep(pause)
        pause = min(_PAUSE[1], 2 * pause)
