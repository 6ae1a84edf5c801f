"""`podfleet manifests`: what it prints is applied as it stands, and works."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from podfleet import ConfigurationError, tender_deployment
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually
from tests.live.command import SCRIPT, Desk, fetch, free_port
from tests.live.test_run import ended, is_tended

RESTRICTED = "pod-security.kubernetes.io/enforce"


def printed(desk: Desk, *options: str) -> list[dict[str, Any]]:
    """Return what it prints, as a YAML reader sees it."""
    answer = desk.podfleet("manifests", "game:fleet", "-n", desk.backend.namespace, *options)
    assert (answer.code, answer.err) == (0, "")
    assert "&id" not in answer.out
    return list(yaml.safe_load_all(answer.out))


def test_what_is_printed_gives_the_rights_that_run_needs(backend: Backend, tmp_path: Path) -> None:
    port = free_port()
    desk = Desk.of(backend, tmp_path, ready=1, grant=False)
    *rights, deployment = printed(desk, "--service-account", backend.account, "--tender", "game:1")
    assert {one["kind"] for one in rights} == {
        *("ServiceAccount", "Role", "RoleBinding", "PodDisruptionBudget", "Service"),
        *("ClusterRole", "ClusterRoleBinding"),  # it may see which nodes are cordoned
    }
    backend.grant(tuple(rights))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    program, *arguments = container["command"]
    assert program == SCRIPT.name
    arguments[arguments.index("9102")] = str(port)
    with desk.running(*arguments) as process:
        probe = container["livenessProbe"]["httpGet"]["path"]
        eventually(lambda: fetch(port, probe) == (200, "ok\n"))
        eventually(lambda: len(backend.pods()) == 1 and is_tended(backend))
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0


def test_json_is_a_list_and_each_object_is_in_it_once(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path, grant=False)
    desk.write(
        "more.py",
        "import game\n"
        "from podfleet import *\n"
        "duel = Fleet('duel', template=game.fleet.own().spec.template, exposure=HeadlessDNS())\n"
        "arena = AsyncFleet('arena', template=duel.own().spec.template, exposure=HeadlessDNS())\n"
        "group = AsyncFleetGroup('all', [arena, duel.own()])\n",
    )
    answer = desk.podfleet("manifests", "more:group", "-o", "json", "--tender", "game:1")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert (found["apiVersion"], found["kind"]) == ("v1", "List")
    names = [(one["kind"], one["metadata"]["name"]) for one in found["items"]]
    assert len(names) == len(set(names))
    assert names[0] == ("ServiceAccount", "podfleet-all")
    assert names[-1] == ("Deployment", "all-tender")
    (container,) = found["items"][-1]["spec"]["template"]["spec"]["containers"]
    assert container["command"][:5] == ["podfleet", "run", "more:group", "--namespace", "default"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Arena"}, "tender_deployment.name: 'Arena': "),
        ({"references": []}, "tender_deployment.references: []: must not be empty"),
        ({"image": ""}, "tender_deployment.image: '': must not be empty"),
        ({"namespace": "a/b"}, "tender_deployment.namespace: 'a/b': "),
        ({"service_account": "backend"}, "service_account: 'backend': must be 'namespace/name'"),
    ],
)
def test_a_wrong_argument_is_named(change: dict[str, Any], said: str) -> None:
    arguments: dict[str, Any] = {
        "name": "arena",
        "references": ["game:fleet"],
        "image": "game:1",
        "namespace": "games",
        "service_account": "games/backend",
        **change,
    }
    with pytest.raises(ConfigurationError) as caught:
        tender_deployment(arguments.pop("name"), arguments.pop("references"), **arguments)
    assert str(caught.value).startswith(said)


@pytest.mark.only("real", "the embedded cluster has no Deployments")
def test_the_deployment_runs_as_printed(backend: Backend, tmp_path: Path) -> None:
    """In the strictest namespace its Pod is let in; and it tends, in two Pods that take turns.

    There is no image with podfleet in the test cluster: its files come from this machine.
    """
    cluster, namespace = backend.cluster, backend.namespace
    desk = Desk.of(backend, tmp_path, ready=2, grant=False)
    *rights, deployment = printed(desk, "--tender", cluster.image)
    backend.grant(tuple(rights))

    where = ("--namespace", namespace)
    dry = ("create", "--dry-run=server", "--validate=strict", "-f", "-")
    cluster.kubectl(*dry, stdin=json.dumps(deployment))
    pod = deployment["spec"]["template"]
    single = {"apiVersion": "v1", "kind": "Pod", **pod}
    single["metadata"] = {"name": "tender", "namespace": namespace}
    cluster.kubectl("label", "namespace", namespace, f"{RESTRICTED}=restricted")
    cluster.kubectl(*dry, stdin=json.dumps(single))
    cluster.kubectl("label", "namespace", namespace, f"{RESTRICTED}-")

    _bring_files(pod["spec"], desk.folder)
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(deployment))
    try:
        _watch_it_tend(backend, where)
    finally:
        cluster.kubectl("delete", "deployment", "arena-tender", *where, "--wait=false")


def _bring_files(spec: dict[str, Any], folder: Path) -> None:
    """Mount Python, podfleet and the user's module where they are on this machine."""
    folder.chmod(0o755)
    packages = {path for path in map(Path, sys.path) if path.name == "site-packages"}
    sources = {path for path in map(Path, sys.path) if path.name == "src"}
    system = {Path("/usr"), Path("/lib"), Path("/lib64")}
    wanted = {Path(sys.base_prefix), Path(sys.prefix), folder, *packages, *sources, *system}
    places = sorted(path for path in wanted if path.is_dir() and not set(path.parents) & wanted)
    spec["volumes"] = [
        {"name": f"files-{number}", "hostPath": {"path": str(path.resolve())}}
        for number, path in enumerate(places)
    ]
    (container,) = spec["containers"]
    container["workingDir"] = str(folder)
    container["command"][0] = str(SCRIPT)
    container["volumeMounts"] = [
        {"name": f"files-{number}", "mountPath": str(path), "readOnly": True}
        for number, path in enumerate(places)
    ]


def _watch_it_tend(backend: Backend, where: tuple[str, str]) -> None:
    cluster = backend.cluster
    cluster.kubectl("rollout", "status", "deployment/arena-tender", *where, "--timeout=120s")

    def servers() -> list[str]:
        return [
            pod["metadata"]["name"]
            for pod in backend.pods()
            if "podfleet.dev/fleet" in pod["metadata"]["labels"]
            and not pod["metadata"].get("deletionTimestamp")
        ]

    eventually(lambda: len(servers()) == 2)
    tenders = [
        pod["metadata"]["name"]
        for pod in backend.pods()
        if pod["metadata"]["labels"].get("app.kubernetes.io/component") == "tender"
    ]
    assert len(tenders) == 2
    cluster.kubectl("delete", "pod", tenders[0], *where, "--grace-period=0", "--force")
    gone = servers()[0]
    backend.delete("pods", gone, grace=0)
    eventually(lambda: len(servers()) == 2 and gone not in servers(), 60)
