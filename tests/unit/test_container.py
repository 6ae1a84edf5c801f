"""Which container of a Pod is the game server, and when it has ended."""

from typing import Any

import pytest

from podfleet import ConfigurationError, GameServerTemplate, HeadlessDNS, Port
from podfleet.fleet.spec import FleetSpec
from podfleet.model.container import container_name, has_ended, restarts_of, run_of
from podfleet.model.names import CONTAINER
from tests.unit.pods import Json, a_pod, container_status, ready_pod, terminated, waiting

PORTS = [Port("game", 7777, "UDP")]


def made(template: GameServerTemplate) -> Json:
    """Return the Pod of a new server."""
    spec = FleetSpec(name="arena", template=template, exposure=HeadlessDNS())
    return spec.pod("games", "arena-0", ())


def names(pod: Json) -> list[str]:
    return [one["name"] for one in pod["spec"]["containers"]]


@pytest.mark.parametrize(
    ("names", "container", "server"),
    [
        ([], None, "server"),
        ([], "game", "game"),
        (["game"], None, "game"),
        (["logs", "game"], None, "logs"),
        (["logs", "server"], None, "server"),
        (["logs", "game"], "game", "game"),
        (["server", "game"], "game", "game"),
    ],
)
def test_the_templates_fields_are_laid_on_the_servers_container(
    names: list[str], container: str | None, server: str
) -> None:
    others = [{"name": name, "image": "acme/other:1"} for name in names]
    template = GameServerTemplate(
        image="acme/arena:1",
        ports=PORTS,
        env={"MAP": "desert"},
        pod={"spec": {"containers": others}},
        container=container,
    )
    pod = made(template)
    assert container_name(pod) == server
    assert pod["metadata"]["annotations"][CONTAINER] == server
    own = {one["name"]: one for one in pod["spec"]["containers"]}
    assert set(own) == {*names, server}
    for name, one in own.items():
        assert (one["image"] == "acme/arena:1") == (name == server)
        assert ("env" in one) == ("ports" in one) == ("volumeMounts" in one) == (name == server)


def test_a_container_that_is_injected_in_front_is_not_the_server() -> None:
    game = {"spec": {"containers": [{"name": "game"}]}}
    pod = made(GameServerTemplate(image="a", ports=PORTS, pod=game))
    pod["spec"]["containers"].insert(0, {"name": "proxy"})
    pod["status"] = {
        "phase": "Running",
        "containerStatuses": [
            container_status(terminated(0), name="proxy"),
            container_status({"running": {}}, name="game", restartCount=2, containerID="c://2"),
        ],
    }
    assert container_name(pod) == "game"
    assert not has_ended(pod)
    assert restarts_of(pod) == 2


@pytest.mark.parametrize("container", ["logs", "setup", "proxy", "Game", "", 3, "a" * 64])
def test_a_container_that_cannot_be_the_server_is_refused(container: Any) -> None:
    sidecar = {"name": "proxy", "image": "b", "restartPolicy": "Always"}
    spec = {
        "containers": [{"name": "game", "image": "a"}],
        "initContainers": [{"name": "setup", "image": "b"}, sidecar],
    }
    with pytest.raises(ConfigurationError) as caught:
        GameServerTemplate(pod={"spec": spec}, container=container)
    assert caught.value.field == "GameServerTemplate.container"


def test_another_container_is_another_revision() -> None:
    ports = [{"containerPort": 7777, "protocol": "UDP", "name": "game"}]
    containers = [{"name": name, "image": "a", "ports": ports} for name in ("game", "logs")]
    revisions = {
        FleetSpec(
            name="arena",
            template=GameServerTemplate(
                pod={"spec": {"containers": containers}}, ports=PORTS, container=name
            ),
            exposure=HeadlessDNS(),
        ).revision
        for name in (None, "game", "logs")
    }
    assert len(revisions) == 3


def beside_a_sidecar(state: Json, policy: str, container: Json | None = None) -> Json:
    """Return a Pod whose server is in a state, and that another container keeps running."""
    statuses = (
        container_status({"running": {}}, name="logs") | {"ready": True},
        container_status(state),
    )
    pod = a_pod(*statuses, phase="Running", restartPolicy=policy, container=container)
    pod["spec"]["containers"].insert(0, {"name": "logs"})
    pod["metadata"]["annotations"] = {CONTAINER: "game"}
    return pod


ON_42 = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
BUT_42 = [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}]


@pytest.mark.parametrize(
    ("policy", "container", "code", "ended"),
    [
        ("Never", {}, 0, True),
        ("Never", {}, 137, True),
        ("OnFailure", {}, 0, True),
        ("OnFailure", {}, 3, False),
        ("Always", {}, 0, False),
        ("Always", {"restartPolicy": "Never"}, 3, True),
        ("Never", {"restartPolicy": "OnFailure"}, 3, False),
        ("Never", {"restartPolicy": "OnFailure"}, 0, True),
        ("Always", {"restartPolicy": "Never", "restartPolicyRules": ON_42}, 42, False),
        ("Always", {"restartPolicy": "Never", "restartPolicyRules": ON_42}, 41, True),
        ("Always", {"restartPolicy": "Never", "restartPolicyRules": BUT_42}, 42, True),
        ("Always", {"restartPolicy": "Never", "restartPolicyRules": BUT_42}, 41, False),
    ],
)
def test_the_restart_policy_says_whether_an_exit_is_the_end(
    policy: str, container: Json, code: int, ended: bool
) -> None:
    state = terminated(code, "Error" if code else "Completed")
    assert has_ended(beside_a_sidecar(state, policy, container)) is ended


def test_another_container_ends_nothing() -> None:
    pod = beside_a_sidecar({"running": {}}, "Never")
    pod["status"]["containerStatuses"][0]["state"] = terminated(1)
    pod["status"]["ephemeralContainerStatuses"] = [
        container_status(terminated(1), name="game-debug")
    ]
    assert not has_ended(pod)


@pytest.mark.parametrize(
    "odd",
    [
        {"metadata": {}},
        {"metadata": None, "spec": None, "status": None},
        {"spec": {"containers": "server"}, "status": {"containerStatuses": [3]}},
        {"spec": {"containers": [{"name": None}]}, "metadata": {"annotations": {CONTAINER: 3}}},
        {"spec": {"containers": [{"name": "server"}]}}
        | {"status": {"containerStatuses": [{"name": "server", "state": []}]}},
    ],
)
def test_an_odd_pod_says_nothing(odd: Json) -> None:
    assert (has_ended(odd), restarts_of(odd), run_of(odd)) == (False, 0, None)


def test_runs_are_told_apart_by_their_container() -> None:
    first = ready_pod()
    status = first["status"]["containerStatuses"][0]
    status |= {"containerID": "c://1", "restartCount": 0}
    before = run_of(first)
    assert before is not None
    crashed = {"lastState": terminated(3, containerID="c://1")}
    for now, is_followed in (
        ({}, False),
        ({"ready": False}, False),
        ({"state": terminated(3, containerID="c://1")}, True),
        ({"state": waiting("CrashLoopBackOff"), **crashed}, True),
        ({"containerID": "c://2", "restartCount": 1, **crashed}, True),
    ):
        later = ready_pod()
        later["status"]["containerStatuses"][0] |= status | now
        assert before.is_followed_by(run_of(later)) is is_followed
