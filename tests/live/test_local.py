"""What is the embedded cluster's own: processes, the clock, lost Nodes, names, the gateway."""

import asyncio
import functools
import json
import os
import platform
import re
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import aiohttp
import pytest

from podfleet import (
    ByHost,
    ByPath,
    ByPort,
    ConfigurationError,
    Endpoint,
    Fleet,
    GameServerTemplate,
    HostPort,
    IstioRoute,
    NotFound,
    PodfleetError,
    Port,
    PortPool,
    Protocol,
)
from podfleet.local import AuditEvent, LocalCluster, Node, ServerContext
from podfleet.local.node import agent
from podfleet.testing import TestCluster, eventually, over_tcp, over_udp
from podfleet.testing.gameserver import IMAGE, gameserver

PYTHON = "python:1"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("not yet", flush=True))
print("up", flush=True)
while True:
    time.sleep(1)
"""


@pytest.fixture
def local() -> Iterator[LocalCluster]:
    nodes = [Node(name="node-a"), Node(name="node-b", labels={"pool": "spare"})]
    images: dict[str, Any] = {IMAGE: gameserver, PYTHON: [sys.executable, "-c"]}
    with LocalCluster(images, nodes=nodes) as cluster:
        yield cluster


@pytest.fixture
def admin(local: LocalCluster) -> Iterator[TestCluster]:
    cluster = TestCluster(local.kubeconfig, IMAGE, local=local)
    yield cluster
    cluster.close()


def run(admin: TestCluster, name: str, script: str = "", **changes: Any) -> None:
    """Make a Pod: of a Python script, or of the game server."""
    container: dict[str, Any] = {"name": "server", "image": PYTHON if script else IMAGE}
    if script:
        container["args"] = [textwrap.dedent(script)]
    container |= changes.pop("container", {})
    metadata = {"name": name, "namespace": "default", **changes.pop("metadata", {})}
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 60,
        "containers": [container],
        **changes,
    }
    eventually(lambda: admin.objects("v1", "serviceaccounts", "default"))
    admin.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])


def show(admin: TestCluster, name: str) -> Any:
    return admin.get("v1", "pods", "default", name)


def phase(admin: TestCluster, name: str) -> str:
    return str(show(admin, name)["status"]["phase"])


def state(admin: TestCluster, name: str) -> Any:
    (container,) = show(admin, name)["status"].get("containerStatuses") or [{"state": {}}]
    return container["state"]


def ended(admin: TestCluster, name: str) -> Any:
    return eventually(lambda: state(admin, name).get("terminated"))


def is_ready(admin: TestCluster, name: str) -> bool:
    conditions = show(admin, name)["status"].get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def test_a_process_has_what_its_pod_says(admin: TestCluster, tmp_path: Path) -> None:
    script = """
        import os, sys
        print(os.environ["WHO"], os.environ["URL"], os.getcwd(), sys.argv[1], flush=True)
        print("secret" if "PODFLEET_TEST_SECRET" in os.environ else "clean")
        print(open(os.environ["PODFLEET_ROOT"] + "/etc/pod/map").read())
        sys.exit(3)
    """
    os.environ["PODFLEET_TEST_SECRET"] = "of this process"
    env = [
        {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "PORT", "value": "7777"},
        {"name": "URL", "value": "udp://$(POD):$(PORT) $$(PORT)"},
    ]
    field = {"fieldPath": "metadata.annotations['map']"}
    try:
        run(
            admin,
            "arena",
            container={
                "image": PYTHON,
                "args": [textwrap.dedent(script), "$(PORT)"],
                "env": env,
                "workingDir": str(tmp_path),
                "volumeMounts": [{"name": "pod", "mountPath": "/etc/pod"}],
            },
            volumes=[
                {"name": "pod", "downwardAPI": {"items": [{"path": "map", "fieldRef": field}]}}
            ],
            metadata={"annotations": {"map": "dust"}},
        )
        assert ended(admin, "arena")["exitCode"] == 3
    finally:
        del os.environ["PODFLEET_TEST_SECRET"]
    said = admin.log("default", "arena").splitlines()
    assert said == [f"arena udp://$(POD):7777 $(PORT) {tmp_path} 7777", "clean", "dust"]
    assert phase(admin, "arena") == "Failed"
    assert ended(admin, "arena")["reason"] == "Error"


def test_a_volume_follows_the_annotations(admin: TestCluster) -> None:
    script = """
        import os, time
        path = os.environ["PODFLEET_ROOT"] + "/etc/pod/annotations"
        while 'state="allocated"' not in open(path).read():
            time.sleep(0.01)
    """
    items = [{"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]
    run(
        admin,
        "arena",
        script,
        container={"volumeMounts": [{"name": "pod", "mountPath": "/etc/pod"}]},
        volumes=[{"name": "pod", "downwardAPI": {"items": items}}],
        metadata={"annotations": {"state": "free"}},
    )
    eventually(lambda: phase(admin, "arena") == "Running")
    path = "/api/v1/namespaces/default/pods/arena"
    admin.patch(
        path, {"op": "replace", "path": "/metadata/annotations/state", "value": "allocated"}
    )
    eventually(lambda: phase(admin, "arena") == "Succeeded")


def test_a_server_that_does_not_end_is_killed_when_its_grace_is_over(
    admin: TestCluster, local: LocalCluster
) -> None:
    run(admin, "arena", STUBBORN)
    eventually(lambda: "up" in admin.log("default", "arena"))
    admin.delete("/api/v1/namespaces/default/pods/arena")
    eventually(lambda: "not yet" in admin.log("default", "arena"))
    assert show(admin, "arena")["metadata"]["deletionGracePeriodSeconds"] == 60
    local.advance(61)
    eventually(lambda: not admin.objects("v1", "pods", "default"))


SLOW_AGENT = """
import pathlib, runpy, time
parts = runpy.run_path({agent!r})
def answer(self, name, *, at_once=parts["Agent"]._answer, **told):
    while "pid" in told and not pathlib.Path({told!r}).exists():
        time.sleep(0.001)
    at_once(self, name, **told)
parts["Agent"]._answer = answer
parts["main"]()
"""


def test_a_server_that_is_deleted_while_it_is_started_has_its_grace_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a machine with much to do it runs before the cluster knows that it does."""
    slow, told = tmp_path / "agent.py", tmp_path / "told"
    slow.write_text(SLOW_AGENT.format(agent=agent.__file__, told=str(told)))
    monkeypatch.setattr(agent, "__file__", str(slow))
    with LocalCluster({PYTHON: [sys.executable, "-c"]}) as local:
        admin = TestCluster(local.kubeconfig, IMAGE, local=local)
        try:
            run(admin, "arena", STUBBORN)
            eventually(lambda: "up" in admin.log("default", "arena"))
            admin.delete("/api/v1/namespaces/default/pods/arena")
            eventually(lambda: show(admin, "arena")["metadata"]["deletionTimestamp"])
        finally:
            told.touch()
        eventually(lambda: "not yet" in admin.log("default", "arena"))
        local.advance(61)
        eventually(lambda: not admin.objects("v1", "pods", "default"))
        admin.close()


def test_a_crash_loop_backs_off_on_the_clusters_clock(
    admin: TestCluster, local: LocalCluster
) -> None:
    run(admin, "arena", "import sys; sys.exit(1)", restartPolicy="Always")

    def restarts() -> int:
        (container,) = show(admin, "arena")["status"]["containerStatuses"]
        return int(container["restartCount"])

    def waits(words: str) -> bool:
        waiting = state(admin, "arena").get("waiting", {})
        return waiting.get("reason") == "CrashLoopBackOff" and words in waiting["message"]

    eventually(lambda: waits("back-off 10s"))
    assert restarts() == 1
    local.advance(10)
    eventually(lambda: waits("back-off 20s"))
    local.advance(20)
    eventually(lambda: waits("back-off 40s"))
    assert restarts() == 3


def test_the_deadline_of_a_pod_is_its_end(admin: TestCluster, local: LocalCluster) -> None:
    run(admin, "arena", activeDeadlineSeconds=600)
    eventually(lambda: is_ready(admin, "arena"))
    local.advance(601)
    eventually(lambda: phase(admin, "arena") == "Failed")
    assert show(admin, "arena")["status"]["reason"] == "DeadlineExceeded"


def test_a_server_dies_as_the_kernel_would_kill_it(admin: TestCluster, local: LocalCluster) -> None:
    run(admin, "arena", "import time; time.sleep(600)")
    eventually(lambda: phase(admin, "arena") == "Running")
    local.kill("arena", out_of_memory=True)
    found = ended(admin, "arena")
    assert (found["reason"], found["exitCode"]) == ("OOMKilled", 137)
    with pytest.raises(NotFound, match="default/arena: no such server runs"):
        local.kill("arena")


def test_a_lost_node_is_noticed_and_its_pods_are_evicted(
    admin: TestCluster, local: LocalCluster
) -> None:
    run(admin, "arena", nodeSelector={"pool": "spare"})
    eventually(lambda: is_ready(admin, "arena"))
    endpoint = Endpoint(show(admin, "arena")["status"]["podIP"], 7777, Protocol.TCPUDP, "game")
    assert over_tcp(endpoint) == "arena hello"
    local.lose_node("node-b")
    with pytest.raises(OSError, match="refused"):
        over_tcp(endpoint, timeout=1)
    assert is_ready(admin, "arena")  # nobody has noticed
    local.advance(41)
    eventually(lambda: not is_ready(admin, "arena"))
    assert not show(admin, "arena")["metadata"].get("deletionTimestamp")
    local.advance(301)
    eventually(lambda: show(admin, "arena")["metadata"].get("deletionTimestamp"))
    local.restore_node("node-b")
    eventually(lambda: not admin.objects("v1", "pods", "default"))


def test_what_a_node_runs_again_after_it_was_lost(admin: TestCluster, local: LocalCluster) -> None:
    for name, policy in (("once", "Never"), ("always", "Always")):
        run(admin, name, restartPolicy=policy, nodeSelector={"pool": "spare"})
        eventually(lambda: is_ready(admin, name))  # noqa: B023
    local.lose_node("node-b")
    local.restore_node("node-b")
    eventually(lambda: phase(admin, "once") == "Failed")
    eventually(lambda: is_ready(admin, "always"))
    (container,) = show(admin, "always")["status"]["containerStatuses"]
    assert container["restartCount"] == 1


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        ({"tcpSocket": {"port": "late"}}, "connect: connection refused"),
        ({"exec": {"command": ["test", "-e", "$FILE"]}}, ""),
        ({"httpGet": {"port": 8080, "path": "/healthz"}}, "statuscode: 503"),
    ],
    ids=["tcp", "exec", "http"],
)
def test_a_probe_passes_when_its_server_is_ready(
    admin: TestCluster, tmp_path: Path, probe: dict[str, Any], words: str
) -> None:
    file = tmp_path / "ready"
    if "exec" in probe:
        probe = {"exec": {"command": ["test", "-e", str(file)]}}
    late = [{"name": "READY_AFTER", "value": "0.5"}]
    script = f"""
        import os, pathlib, socket, time
        time.sleep(0.5)
        listens = socket.create_server((os.environ["POD_IP"], 7777))
        pathlib.Path({str(file)!r}).touch()
        time.sleep(600)
    """
    run(
        admin,
        "arena",
        "" if "httpGet" in probe else script,
        container={
            "env": late,
            "ports": [{"name": "late", "containerPort": 7777}],
            "readinessProbe": {**probe, "periodSeconds": 1},
        },
        terminationGracePeriodSeconds=0,
    )
    eventually(lambda: phase(admin, "arena") == "Running")
    assert not is_ready(admin, "arena")
    eventually(lambda: is_ready(admin, "arena"))
    events = [event["message"] for event in admin.objects("v1", "events", "default")]
    assert any(one.startswith("Readiness probe failed") and words in one for one in events)


def test_a_server_is_told_before_it_is_asked_to_end(admin: TestCluster, tmp_path: Path) -> None:
    told = tmp_path / "told"
    hook = {"exec": {"command": ["sh", "-c", f"echo $WHO > {told}"]}}
    run(
        admin,
        "arena",
        container={
            "env": [{"name": "WHO", "value": "the hook"}],
            "lifecycle": {"preStop": hook},
        },
    )
    eventually(lambda: is_ready(admin, "arena"))
    admin.delete("/api/v1/namespaces/default/pods/arena")
    eventually(lambda: not admin.objects("v1", "pods", "default"))
    assert told.read_text() == "the hook\n"


def test_init_containers_run_first(admin: TestCluster, tmp_path: Path) -> None:
    file = tmp_path / "map"
    first = {"name": "loader", "image": PYTHON, "args": [f"open({str(file)!r}, 'w').write('dust')"]}
    run(admin, "arena", f"print(open({str(file)!r}).read())", initContainers=[first])
    eventually(lambda: phase(admin, "arena") == "Succeeded")
    assert admin.log("default", "arena") == "dust\n"
    (loader,) = show(admin, "arena")["status"]["initContainerStatuses"]
    assert loader["state"]["terminated"]["reason"] == "Completed"


def test_names_are_answered_by_call_and_by_dns(local: LocalCluster, admin: TestCluster) -> None:
    from dns.resolver import Resolver

    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "arena", "namespace": "default"},
        "spec": {
            "clusterIP": "None",
            "selector": {"app": "arena"},
            "ports": [{"name": "game", "port": 7777, "protocol": "UDP"}],
        },
    }
    admin.apply([service])
    run(
        admin,
        "arena-0",
        metadata={"labels": {"app": "arena"}},
        hostname="arena-0",
        subdomain="arena",
    )
    name = "arena-0.arena.default.svc.cluster.local"
    (address,) = eventually(lambda: local.resolve(name))
    assert address == show(admin, "arena-0")["status"]["podIP"]
    asked = Resolver(configure=False)
    host, asked.port = local.dns
    asked.nameservers = [host]
    assert [str(one) for one in asked.resolve(f"{name}.", "A")] == [address]
    (record,) = asked.resolve("_game._udp.arena.default.svc.cluster.local.", "SRV")
    assert (str(record.target), record.port) == (f"{name}.", 7777)
    with pytest.raises(NotFound, match=r"nobody\.default"):
        local.resolve("nobody.default.svc.cluster.local")


async def web(context: ServerContext) -> int:
    """Serve HTTP and WebSocket, and say who does."""
    from aiohttp import web as http

    async def answer(request: http.Request) -> http.StreamResponse:
        if request.headers.get("Upgrade") != "websocket":
            return http.Response(text=f"{context.name} {request.path}")
        talk = http.WebSocketResponse()
        await talk.prepare(request)
        async for message in talk:
            await talk.send_str(f"{context.name} {message.data}")
        return talk

    app = http.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = http.AppRunner(app)
    await runner.setup()
    try:
        await http.TCPSite(runner, *context.where(8080)).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
    return 0


def test_the_gateway_routes_http_and_websocket(local: LocalCluster) -> None:
    local.images["web:1"] = web
    template = GameServerTemplate(image="web:1", ports=[Port("web", 8080, "TCP")])
    exposure = IstioRoute(ByPath(prefix="/servers", port=18080), address=local.gateway)

    async def talk(endpoint: Endpoint) -> tuple[str, str]:
        async with aiohttp.ClientSession() as session:
            async with session.get(endpoint.url("http", "/join?x=1")) as answer:
                said = await answer.text()
            async with session.ws_connect(endpoint.url("ws", "/play")) as play:
                await play.send_str("hello")
                return said, await play.receive_str()

    with Fleet("arena", template=template, exposure=exposure, cluster=local.cluster) as fleet:
        servers = [fleet.allocate(timeout=10) for _ in range(2)]
        for server in servers:
            eventually(functools.partial(is_served, server.endpoint.url("http", "/")))
            said, played = asyncio.run(talk(server.endpoint))
            assert said.split() == [server.name, "/join"]  # the prefix is cut off
            assert played == f"{server.name} hello"
        with pytest.raises(HTTPError, match="404"):
            urllib.request.urlopen(f"http://{local.gateway}:18080/elsewhere", timeout=5)


def is_served(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except HTTPError:
        return False


def test_the_gateway_passes_tcp_on_by_port_and_tls_by_name(local: LocalCluster) -> None:
    template = GameServerTemplate(image=IMAGE, ports=[Port("game", 7777, "TCP")])
    by_port = IstioRoute(ByPort(PortPool(20000, 20001)), address=local.gateway)
    with Fleet("arena", template=template, exposure=by_port, cluster=local.cluster) as fleet:
        servers = [fleet.allocate(timeout=10) for _ in range(2)]
        for server in servers:
            assert eventually(lambda one=server: over_tcp(one.endpoint)) == f"{server.name} hello"  # type: ignore[misc]
    by_name = IstioRoute(
        ByHost("play.example.com", tls="passthrough", port=18443), address=local.gateway
    )
    with Fleet("duel", template=template, exposure=by_name, cluster=local.cluster) as fleet:
        server = fleet.allocate(timeout=10)
        # The server speaks no TLS: it answers what it is sent, its name first.
        assert eventually(lambda: first_answer(local.gateway, 18443, server.endpoint.host))


def first_answer(gateway: str, port: int, name: str) -> bool:
    """Return whether something that is not TLS answers a ClientHello for that name."""
    context = ssl.create_default_context()
    with socket.create_connection((gateway, port), timeout=5) as dialed:
        try:
            context.wrap_socket(dialed, server_hostname=name)
        except ssl.SSLError as error:
            return "WRONG_VERSION_NUMBER" in str(error)
    return False


def test_one_loopback_address_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: Pods have ports of their own, and hostPorts lead to them."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with LocalCluster({IMAGE: gameserver}) as cluster:
        template = GameServerTemplate(image=IMAGE, ports=[Port("game", 7777, "TCPUDP")])
        exposure = HostPort(PortPool(9000, 9009))
        # Its page and its echo would both be at 127.0.0.1.
        template = GameServerTemplate(
            image=IMAGE, ports=[Port("game", 7777, "TCPUDP"), Port("web", 8080, "TCP")]
        )
        with Fleet("arena", template=template, exposure=exposure, cluster=cluster.cluster) as fleet:
            servers = [fleet.allocate(timeout=10) for _ in range(3)]
            for server in servers:
                assert server.endpoint.host == "127.0.0.1"
                assert over_udp(server.endpoint) == f"{server.name} hello"
                assert over_tcp(server.endpoint) == f"{server.name} hello"


def answer_of(cluster: LocalCluster, path: str, token: str | None = None) -> tuple[int, Any]:
    config = json.loads(cluster.kubeconfig.read_text())
    token = config["users"][0]["user"]["token"] if token is None else token
    request = urllib.request.Request(config["clusters"][0]["cluster"]["server"] + path)
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_nobody_gets_in_without_the_token(local: LocalCluster) -> None:
    assert local.kubeconfig.stat().st_mode & 0o077 == 0
    for token in ("", "guess", "guess.0"):
        status, told = answer_of(local, "/api/v1/pods", token)
        assert (status, told["reason"]) == (401, "Unauthorized")


def test_requests_are_audited(local: LocalCluster) -> None:
    answer_of(local, "/api/v1/namespaces?limit=1")
    answer_of(local, "/api/v1/pods", "guess")
    admin, unknown = local.audit[-2:]
    assert admin == AuditEvent("podfleet-admin", "GET", "/api/v1/namespaces?limit=1", 200)
    assert unknown == AuditEvent("", "GET", "/api/v1/pods", 401)


def test_what_is_not_in_it_is_named(local: LocalCluster) -> None:
    status, told = answer_of(local, "/apis/apps/v1/namespaces/default/deployments")
    assert status == 501
    assert told["message"] == (
        "podfleet's embedded cluster has no deployments in apps/v1: use a real cluster for it"
    )
    status, told = answer_of(local, "/api/v1/namespaces/default/pods/arena/exec")
    assert (status, "pods/exec" in told["message"]) == (501, True)


def test_istio_is_served_or_not(local: LocalCluster) -> None:
    assert answer_of(local, "/apis/networking.istio.io/v1")[0] == 200
    local.istio = False
    path = "/apis/networking.istio.io/v1/virtualservices"
    assert answer_of(local, path)[0] == 404


def test_a_server_in_this_process_is_a_coroutine(local: LocalCluster, admin: TestCluster) -> None:
    async def fails(context: ServerContext) -> int:
        context.print("loading")
        raise RuntimeError("map not found")

    local.images["fails:1"] = fails
    run(admin, "arena", container={"image": "fails:1"})
    assert ended(admin, "arena")["exitCode"] == 1
    log = admin.log("default", "arena").splitlines()
    assert (log[0], log[-1]) == ("loading", "RuntimeError: map not found")

    def blocks(context: ServerContext) -> int:
        return threading.active_count()

    wrong: Any = blocks
    with pytest.raises(ConfigurationError, match=r"images\['blocks:1'\].*async def"):
        local.images["blocks:1"] = wrong


def test_the_example_needs_no_cluster() -> None:
    example = Path(__file__).parents[2] / "examples" / "first_endpoint.py"
    done = subprocess.run(
        [sys.executable, str(example)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    first, second, third = done.stdout.splitlines()
    assert re.fullmatch(r"first-endpoint-\w{10} on local: 127\.[\d.]+:7000/UDP", first)
    assert (second, third) == ("It answers: echo: hello", "Released.")


def test_wrong_use_is_told() -> None:
    twice = [Node(name="node-a"), Node(name="node-a")]
    with pytest.raises(ConfigurationError, match=r"LocalCluster.nodes: \['node-a', 'node-a'\]"):
        LocalCluster(nodes=twice)
    with pytest.raises(ConfigurationError, match=r"Node.name: 'Node_A'"):
        Node(name="Node_A")
    with pytest.raises(PodfleetError, match="is not started"):
        _ = LocalCluster().kubeconfig
    with LocalCluster() as cluster:
        with pytest.raises(ConfigurationError, match="there is no such Node: local"):
            cluster.lose_node("moon")
        with pytest.raises(ConfigurationError, match="only goes forward"):
            cluster.advance(-1)
    cluster.stop()  # it is already
