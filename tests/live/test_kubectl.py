"""Other people's clients on the embedded cluster: kubectl, and the official one for Python."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from attrs import frozen
from kubernetes.informer import SharedInformer

from podfleet.local import LocalCluster, Node, ServerContext
from podfleet.local.node.programs import Image
from podfleet.testing.cluster import eventually
from tests.cluster.build import KUBERNETES, build
from tests.cluster.kubectl import kubectl

LINES = "import time; print('one', flush=True); time.sleep(1); print('two')"


async def idle(context: ServerContext) -> None:
    context.print(f"{context.name}: ready for players")
    await asyncio.Event().wait()


async def slow(context: ServerContext) -> None:
    try:
        await idle(context)
    except asyncio.CancelledError:
        await asyncio.sleep(2)  # lets the players finish


@frozen
class Kubectl:
    """kubectl in a namespace."""

    program: list[str]
    kubeconfig: Path
    namespace: str

    def __call__(self, *words: str, stdin: Any = None) -> str:
        arguments = [*words, "--namespace", self.namespace]
        text = None if stdin is None else json.dumps(stdin)
        return kubectl(self.program, self.kubeconfig, *arguments, stdin=text)

    def table(self, *words: str) -> list[dict[str, str]]:
        """Return the rows that it prints, by column."""
        head, *rows = [line.split() for line in self(*words).splitlines()]
        return [dict(zip(head, row, strict=True)) for row in rows]

    def shown(self, *words: str) -> Any:
        return json.loads(self("get", *words, "-o", "json"))

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Give one that goes on; it is killed after a minute, or at the end."""
        process = subprocess.Popen(
            [*self.program, *words, "--namespace", self.namespace],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        timer = threading.Timer(60, process.kill)
        timer.start()
        try:
            with process:
                yield process
                process.kill()
        finally:
            timer.cancel()

    def create_pod(self, name: str = "arena", **fields: Any) -> None:
        self("create", "-f", "-", stdin=pod(name, **fields))
        self("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")


def pod(name: str, image: str = "arena:1", **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [{"name": "game", "image": image}],
            "terminationGracePeriodSeconds": 2,
            **fields,
        },
    }


@pytest.fixture(scope="module")
def local() -> Iterator[LocalCluster]:
    images: dict[str, Image] = {
        "arena:1": idle,
        "slow:1": slow,
        "lines:1": [sys.executable, "-c", LINES],
    }
    with LocalCluster(images, nodes=[Node(name="node-a")]) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if shutil.which("go") is None:
        pytest.skip("kubectl is built from Kubernetes' Go modules, and there is no `go` in PATH")
    cache = tmp_path_factory.mktemp("kubectl-cache")
    return [str(build("kubernetes")["kubernetes"]), "kubectl", f"--cache-dir={cache}"]


@pytest.fixture
def games(request: pytest.FixtureRequest, local: LocalCluster) -> str:
    """Give a namespace of the test's own."""
    name = str(request.node.name).replace("_", "-")[:60].rstrip("-")
    core(local).create_namespace({"metadata": {"name": name}})
    return name


@pytest.fixture
def ask(program: list[str], local: LocalCluster, games: str) -> Kubectl:
    return Kubectl(program, local.kubeconfig, games)


def core(local: LocalCluster) -> Any:
    client = kubernetes.config.new_client_from_config(str(local.kubeconfig))
    return kubernetes.client.CoreV1Api(client)


def test_get_prints_a_table_of_pods(ask: Kubectl) -> None:
    ask.create_pod()
    (row,) = ask.table("get", "pods")
    assert row | {"AGE": ""} == {
        "NAME": "arena",
        "READY": "1/1",
        "STATUS": "Running",
        "RESTARTS": "0",
        "AGE": "",
    }
    (row,) = ask.table("get", "pod", "arena", "-o", "wide")
    assert list(row) == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert row["IP"].startswith("127.")
    assert row["NODE"] == "node-a"
    (row,) = ask.table("get", "pods", "--sort-by=.metadata.name")
    assert (row["NAME"], row["STATUS"]) == ("arena", "Running")
    assert "pod/arena" in ask("get", "all")


def test_get_prints_json_and_names(ask: Kubectl) -> None:
    ask.create_pod()
    shown = ask.shown("pod", "arena")
    assert (shown["kind"], shown["status"]["phase"]) == ("Pod", "Running")
    assert [one["metadata"]["name"] for one in ask.shown("pods")["items"]] == ["arena"]
    assert ask("get", "po", "-o", "name") == "pod/arena\n"
    assert ask("get", "pod", "arena", "-o", "jsonpath={.spec.nodeName}") == "node-a"
    with pytest.raises(RuntimeError, match=r'\(NotFound\): pods "none" not found'):
        ask("get", "pod", "none")


def test_get_selects(ask: Kubectl) -> None:
    ask.create_pod("red")
    ask("create", "-f", "-", stdin=pod("blue", nodeSelector={"pool": "none"}))
    assert ask("get", "pods", "-l", "app in (red,green)", "-o", "name") == "pod/red\n"
    assert ask("get", "pods", "-l", "app!=red", "-o", "name") == "pod/blue\n"
    running = "--field-selector=status.phase=Running"
    assert ask("get", "pods", running, "-o", "name") == "pod/red\n"
    assert "No resources" not in ask("get", "pods", "--field-selector=metadata.name=blue")
    with pytest.raises(RuntimeError, match=r"field label not supported: spec\.image"):
        ask("get", "pods", "--field-selector=spec.image=arena:1")


def test_get_watches(ask: Kubectl) -> None:
    ask.create_pod("first")
    with ask.running("get", "pods", "--watch") as watching:
        assert watching.stdout is not None
        head = watching.stdout.readline().split()
        first = watching.stdout.readline().split()
        ask.create_pod("second")
        ask("delete", "pod", "second")
        told = []
        for line in watching.stdout:
            told.append(tuple(line.split()[:3]))
            if "Terminating" in line:
                break
    assert head == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert first[:3] == ["first", "1/1", "Running"]
    assert told[0] == ("second", "0/1", "Pending")
    assert ("second", "1/1", "Running") in told


def test_describe_shows_the_pod_and_its_events(ask: Kubectl) -> None:
    ask.create_pod()
    text = ask("describe", "pod", "arena")
    head, _, events = text.partition("Events:\n")
    assert f"Namespace:        {ask.namespace}\n" in head
    assert "Image:          arena:1\n" in head
    assert "State:          Running\n" in head
    reasons = [line.split()[1] for line in events.splitlines()[2:]]
    assert sorted(reasons) == ["Created", "Pulled", "Scheduled", "Started"]
    assert f"Successfully assigned {ask.namespace}/arena to node-a" in events


def test_logs(ask: Kubectl) -> None:
    ask.create_pod()
    assert ask("logs", "arena") == "arena: ready for players\n"
    with pytest.raises(RuntimeError, match="container none is not valid for pod arena"):
        ask("logs", "arena", "-c", "none")
    with pytest.raises(RuntimeError, match="embedded cluster has no times of a log's lines"):
        ask("logs", "arena", "--since=10s")


def test_logs_follow_until_the_server_ends(ask: Kubectl) -> None:
    ask.create_pod("lines", image="lines:1", restartPolicy="Never")
    with ask.running("logs", "-f", "lines") as following:
        said, _ = following.communicate()
    assert (following.returncode, said) == (0, "one\ntwo\n")
    eventually(lambda: ask.table("get", "pods")[0]["STATUS"] == "Completed")
    assert ask("logs", "lines", "--tail=1") == "two\n"


def test_apply_creates_changes_and_removes(ask: Kubectl) -> None:
    ports = [
        {"name": "game", "port": 7777, "protocol": "UDP"},
        {"name": "chat", "port": 7778},
    ]
    service: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "arena", "labels": {"tier": "one", "season": "3"}},
        "spec": {"selector": {"app": "arena"}, "ports": ports, "sessionAffinity": "ClientIP"},
    }
    assert ask("apply", "-f", "-", stdin=service) == "service/arena created\n"
    assert ask("apply", "-f", "-", stdin=service) == "service/arena unchanged\n"
    before = ask.shown("service", "arena")
    ask("label", "service", "arena", "other=kept")
    ports[0]["port"] = 7779
    del ports[1], service["spec"]["sessionAffinity"], service["metadata"]["labels"]["tier"]
    assert ask("apply", "-f", "-", stdin=service) == "service/arena configured\n"
    after = ask.shown("service", "arena")
    assert [(one["name"], one["port"]) for one in after["spec"]["ports"]] == [("game", 7779)]
    assert after["spec"]["sessionAffinity"] == "None"  # by default
    assert after["metadata"]["labels"] == {"season": "3", "other": "kept"}
    assert after["spec"]["clusterIP"] == before["spec"]["clusterIP"]


def test_apply_merges_the_items_of_a_list_by_name(ask: Kubectl) -> None:
    env = [{"name": "MAP", "value": "dust"}, {"name": "MODE", "value": "duel"}]
    game: dict[str, Any] = {"name": "game", "image": "arena:1", "env": env}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "arena"},
        "spec": {
            "replicas": 1,
            "serviceName": "arena",
            "selector": {"matchLabels": {"app": "arena"}},
            "template": {"metadata": {"labels": {"app": "arena"}}, "spec": {"containers": [game]}},
        },
    }
    ask("apply", "-f", "-", stdin=manifest)
    ask("wait", "--for=jsonpath={.status.readyReplicas}=1", "sts/arena", "--timeout=30s")
    env[1:] = [{"name": "LEVEL", "value": "3"}]
    assert ask("apply", "-f", "-", stdin=manifest) == "statefulset.apps/arena configured\n"
    (shown,) = ask.shown("sts", "arena")["spec"]["template"]["spec"]["containers"]
    assert shown["env"] == env
    assert shown["imagePullPolicy"] == "IfNotPresent"
    assert ask.table("get", "sts")[0]["READY"] == "1/1"


def test_apply_is_refused_what_the_server_refuses(ask: Kubectl) -> None:
    ask("apply", "-f", "-", stdin=pod("arena"))
    with pytest.raises(RuntimeError, match='The Pod "arena" is invalid: spec: Forbidden: pod upd'):
        ask("apply", "-f", "-", stdin=pod("arena", restartPolicy="Never"))


def test_apply_on_the_server_side(ask: Kubectl) -> None:
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rules"},
        "data": {"map": "dust", "mode": "duel"},
    }
    server_side = ("apply", "--server-side", "-f", "-")
    assert ask(*server_side, stdin=config) == "configmap/rules serverside-applied\n"
    ask("patch", "configmap", "rules", "-p", '{"data": {"other": "kept"}}')
    config["data"] = {"map": "aztec"}
    ask(*server_side, stdin=config)
    assert ask.shown("configmap", "rules")["data"] == {"map": "aztec", "other": "kept"}
    config["data"]["map"] = "inferno"
    ask("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=config)
    assert ask.shown("configmap", "rules")["data"]["map"] == "aztec"


def test_delete_waits_until_the_pod_is_gone(ask: Kubectl) -> None:
    ask.create_pod(image="slow:1", terminationGracePeriodSeconds=30)
    began = time.monotonic()
    assert ask("delete", "pod", "arena").startswith('pod "arena" deleted')
    assert time.monotonic() - began >= 2
    assert ask.shown("pods")["items"] == []
    with pytest.raises(RuntimeError, match=r'\(NotFound\): pods "arena" not found'):
        ask("delete", "pod", "arena")
    assert ask("delete", "pod", "arena", "--ignore-not-found") == ""


def test_wait_for_ready_and_for_delete(ask: Kubectl) -> None:
    ask("create", "-f", "-", stdin=pod("arena"))
    ready = ask("wait", "--for=condition=Ready", "pod/arena", "--timeout=30s")
    assert ready == "pod/arena condition met\n"
    with pytest.raises(RuntimeError, match="timed out waiting for the condition"):
        ask("wait", "--for=delete", "pod/arena", "--timeout=1s")
    ask("delete", "pod", "arena")
    ask.create_pod("arena", image="slow:1", terminationGracePeriodSeconds=30)
    with ask.running("wait", "--for=delete", "pod/arena", "--timeout=30s") as waiting:
        ask("delete", "pod", "arena", "--wait=false")
        said, _ = waiting.communicate()
    assert (waiting.returncode, said) == (0, "pod/arena condition met\n")


def test_label_and_annotate(ask: Kubectl) -> None:
    ask("create", "-f", "-", stdin=pod("arena"))
    assert ask("label", "pod", "arena", "tier=one") == "pod/arena labeled\n"
    assert ask("annotate", "pod", "arena", "note=hello world") == "pod/arena annotated\n"
    metadata = ask.shown("pod", "arena")["metadata"]
    assert metadata["labels"] == {"app": "arena", "tier": "one"}
    assert metadata["annotations"] == {"note": "hello world"}
    with pytest.raises(RuntimeError, match="'tier' already has a value"):
        ask("label", "pod", "arena", "tier=two")
    ask("label", "pod", "arena", "tier-")
    assert ask.shown("pod", "arena")["metadata"]["labels"] == {"app": "arena"}
    with pytest.raises(RuntimeError, match="a valid label must be an empty string or consist of"):
        ask("label", "pod", "arena", "tier=no value")


def test_create_makes_what_it_sends_as_protobuf(ask: Kubectl) -> None:
    assert ask("create", "namespace", "made-by-kubectl") == "namespace/made-by-kubectl created\n"
    assert ask.table("get", "namespace", "made-by-kubectl")[0]["STATUS"] == "Active"
    assert ask("delete", "namespace", "made-by-kubectl") == 'namespace "made-by-kubectl" deleted\n'
    ask("create", "configmap", "rules", "--from-literal=map=dust", "--from-literal=empty=")
    assert ask.shown("configmap", "rules")["data"] == {"map": "dust", "empty": ""}
    ask("create", "secret", "generic", "key", "--from-literal=a=b")
    assert ask.shown("secret", "key")["data"] == {"a": "Yg=="}
    ask("create", "service", "nodeport", "arena", "--tcp=7777:game", "--node-port=30123")
    (port,) = ask.shown("service", "arena")["spec"]["ports"]
    assert (port["nodePort"], port["port"], port["targetPort"]) == (30123, 7777, "game")
    ask("create", "quota", "room", "--hard=pods=1")
    assert ask.shown("quota", "room")["spec"] == {"hard": {"pods": "1"}}
    with pytest.raises(RuntimeError, match="embedded cluster has no deployments in apps/v1"):
        ask("create", "deployment", "arena", "--image=arena:1")


def test_create_takes_a_list(ask: Kubectl) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": [pod("red"), pod("blue")]}
    assert ask("create", "-f", "-", stdin=items) == "pod/red created\npod/blue created\n"


def test_nodes(ask: Kubectl) -> None:
    (row,) = ask.table("get", "nodes")
    assert (row["NAME"], row["STATUS"]) == ("node-a", "Ready")
    assert "kubernetes.io/hostname=node-a" in ask("describe", "node", "node-a")


def test_what_there_is(ask: Kubectl) -> None:
    by_name = {line.split()[0]: line.split() for line in ask("api-resources").splitlines()}
    assert by_name["pods"] == ["pods", "po", "v1", "true", "Pod"]
    assert by_name["statefulsets"] == ["statefulsets", "sts", "apps/v1", "true", "StatefulSet"]
    assert by_name["nodes"][-2:] == ["false", "Node"]
    assert f"Server Version: {KUBERNETES}+podfleet\n" in ask("version")
    with pytest.raises(RuntimeError, match='have a resource type "deployments"'):
        ask("get", "deployments")


def test_can_i(ask: Kubectl, local: LocalCluster, tmp_path: Path) -> None:
    assert ask("auth", "can-i", "create", "pods") == "yes\n"
    ask("create", "serviceaccount", "backend")
    ask("create", "role", "reader", "--verb=get,list", "--resource=pods")
    ask(
        "create",
        "rolebinding",
        "reader",
        "--role=reader",
        f"--serviceaccount={ask.namespace}:backend",
    )
    config = json.loads(local.kubeconfig.read_text())
    (entry,) = config["clusters"]
    # kubectl sends no token over plain HTTP: it is a part of the URL.
    origin, _, _ = entry["cluster"]["server"].rpartition("/")
    entry["cluster"]["server"] = f"{origin}/{ask('create', 'token', 'backend').strip()}"
    theirs = tmp_path / "kubeconfig"
    theirs.write_text(json.dumps(config))
    backend = Kubectl(ask.program, theirs, ask.namespace)
    assert backend("auth", "can-i", "list", "pods") == "yes\n"
    assert backend("get", "pods", "-o", "name") == ""
    with pytest.raises(RuntimeError, match=r'backend" cannot delete resource "pods"'):
        backend("delete", "pod", "arena")
    entry["cluster"]["server"] = f"{origin}/nobody"
    theirs.write_text(json.dumps(config))
    with pytest.raises(RuntimeError, match="must be logged in"):
        backend("get", "pods")


def test_the_official_client_reads_and_writes(local: LocalCluster, games: str) -> None:
    api = core(local)
    made = api.create_namespaced_pod(games, pod("arena"))
    assert made.metadata.uid
    patched = api.patch_namespaced_pod("arena", games, {"metadata": {"labels": {"tier": "one"}}})
    assert patched.metadata.labels == {"app": "arena", "tier": "one"}
    eventually(lambda: api.read_namespaced_pod("arena", games).status.phase == "Running")
    listed = api.list_namespaced_pod(games, label_selector="tier=one")
    assert [one.metadata.name for one in listed.items] == ["arena"]
    assert api.list_namespaced_pod(games, label_selector="tier!=one").items == []
    eventually(lambda: api.read_namespaced_pod_log("arena", games))
    api.delete_namespaced_pod("arena", games, grace_period_seconds=0)
    with pytest.raises(kubernetes.client.ApiException) as caught:
        api.delete_namespaced_pod("arena", games)
    assert caught.value.status == 404
    assert json.loads(caught.value.body or "")["reason"] == "NotFound"


def test_the_official_client_watches(local: LocalCluster, games: str) -> None:
    api = core(local)
    start = api.list_namespaced_config_map(games).metadata.resource_version
    rules = {"metadata": {"name": "rules"}, "data": {"map": "dust"}}
    api.create_namespaced_config_map(games, rules)
    api.patch_namespaced_config_map("rules", games, {"data": {"map": "aztec"}})
    api.delete_namespaced_config_map("rules", games)
    events = kubernetes.watch.Watch().stream(
        api.list_namespaced_config_map, games, resource_version=start, timeout_seconds=1
    )
    told = [(one["type"], (one["object"].data or {}).get("map")) for one in events]
    assert told == [("ADDED", "dust"), ("MODIFIED", "aztec"), ("DELETED", "aztec")]


def test_the_official_clients_informer_follows(local: LocalCluster, games: str) -> None:
    api = core(local)
    api.create_namespaced_config_map(games, {"metadata": {"name": "first"}})
    told: list[tuple[str, str]] = []
    informer = SharedInformer(api.list_namespaced_config_map, namespace=games, resync_period=1)
    for event in ("ADDED", "DELETED"):
        informer.add_event_handler(
            event, lambda one, event=event: told.append((event, one.metadata.name))
        )
    informer.start()
    try:
        eventually(lambda: told == [("ADDED", "first")])
        api.create_namespaced_config_map(games, {"metadata": {"name": "second"}})
        eventually(lambda: informer.cache.get_by_key(f"{games}/second") is not None)
        api.delete_namespaced_config_map("first", games)
        eventually(lambda: told[-1] == ("DELETED", "first"))
        assert informer.cache.list_keys() == [f"{games}/second"]
    finally:
        informer.stop()
