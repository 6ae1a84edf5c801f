"""The values: what they refuse, and what a template becomes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client import V1Container, V1ObjectMeta, V1Pod, V1PodSpec

from podfleet import ConfigurationError, Endpoint, GameServerTemplate, Port, Protocol
from podfleet.model.names import check_labels, check_namespace, new_server_name, session_label

GAME = Port("game", 7777)


@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        (lambda: Port("", 7777), "Port.name", ""),
        (lambda: Port("Game", 7777), "Port.name", "Game"),
        (lambda: Port("game--x", 7777), "Port.name", "game--x"),
        (lambda: Port("123", 7777), "Port.name", "123"),
        (lambda: Port("a-name-so-long", 7777), "Port.name", "a-name-so-long"),
        (lambda: Port("game", 0), "Port.number", 0),
        (lambda: Port("game", 65536), "Port.number", 65536),
        (lambda: Port("game", True), "Port.number", True),
        (lambda: Port("game", 7777, "SCTP"), "Port.protocol", "SCTP"),
        (lambda: GameServerTemplate(image=""), "GameServerTemplate.image", ""),
        (lambda: GameServerTemplate(image=" a:1"), "GameServerTemplate.image", " a:1"),
        (lambda: GameServerTemplate(), "GameServerTemplate.image", None),
        (
            lambda: GameServerTemplate(image="a", ports=[GAME, Port("game", 7778)]),
            "GameServerTemplate.ports",
            "game",
        ),
        (
            lambda: GameServerTemplate(image="a", ports=[GAME, Port("b", 7777, "TCPUDP")]),
            "GameServerTemplate.ports",
            7777,
        ),
        (
            lambda: GameServerTemplate(image="a", labels={"team": "a b"}),
            "GameServerTemplate.labels['team']",
            "a b",
        ),
        (
            lambda: GameServerTemplate(image="a", labels={"podfleet.dev/state": "x"}),
            "GameServerTemplate.labels",
            "podfleet.dev/state",
        ),
        (
            lambda: GameServerTemplate(image="a", annotations={"a/b/c": "x"}),
            "GameServerTemplate.annotations",
            "a/b/c",
        ),
        (
            lambda: GameServerTemplate(image="a", env={"A=B": "x"}),
            "GameServerTemplate.env",
            "A=B",
        ),
        (
            lambda: GameServerTemplate(image="a", command="./run"),
            "GameServerTemplate.command",
            "./run",
        ),
        (lambda: GameServerTemplate(pod=7), "GameServerTemplate.pod", "int"),
        (lambda: Endpoint("h", 1, Protocol.TCP, "a").url("ws", "x"), "Endpoint.url.path", "x"),
    ],
)
def test_a_wrong_value_is_refused_at_once_by_field_and_value(
    make: Any, field: str, value: object
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert (caught.value.field, caught.value.value) == (field, value)
    assert str(caught.value).startswith(f"{field}: {value!r}: ")


def test_one_number_may_be_two_ports_of_different_protocols() -> None:
    template = GameServerTemplate(image="a", ports=[GAME, Port("query", 7777, "TCP")])
    assert [port["protocol"] for port in _container(template)["ports"]] == ["UDP", "TCP"]


def test_a_tcpudp_port_is_two_container_ports_of_one_number() -> None:
    template = GameServerTemplate(image="a", ports=[Port("game", 7777, "TCPUDP")])
    assert _container(template)["ports"] == [
        {"name": "game-tcp", "containerPort": 7777, "protocol": "TCP"},
        {"name": "game-udp", "containerPort": 7777, "protocol": "UDP"},
    ]


def test_the_fields_are_laid_over_the_given_pod() -> None:
    template = GameServerTemplate(
        image="new:2",
        ports=[GAME],
        env={"MODE": "ffa"},
        labels={"team": "red"},
        node_selector={"pool": "games"},
        tolerations=[{"key": "games", "operator": "Exists"}],
        resources={"limits": {"memory": "64Mi"}},
        pod={
            "metadata": {"labels": {"app": "arena", "team": "blue"}},
            "spec": {
                "fieldFromTheFuture": {"x": 1},
                "containers": [
                    {"name": "sidecar", "image": "side:1"},
                    {"name": "server", "image": "old:1", "env": [{"name": "MODE", "value": "x"}]},
                ],
            },
        },
    )
    pod = template.to_pod()
    sidecar, server = pod["spec"]["containers"]
    assert sidecar == {"name": "sidecar", "image": "side:1"}
    assert server["image"] == "new:2"
    assert server["env"] == [{"name": "MODE", "value": "ffa"}]
    assert pod["metadata"]["labels"] == {"app": "arena", "team": "red"}
    assert pod["spec"]["fieldFromTheFuture"] == {"x": 1}
    assert pod["spec"]["nodeSelector"] == {"pool": "games"}
    assert pod["spec"]["tolerations"] == [{"key": "games", "operator": "Exists"}]


def test_the_given_pod_is_neither_changed_nor_shared() -> None:
    given_pod: dict[str, Any] = {"spec": {"containers": [{"name": "server", "image": "a:1"}]}}
    template = GameServerTemplate(pod=given_pod, ports=[GAME])
    template.to_pod()["spec"]["containers"].clear()
    given_pod["spec"]["containers"][0]["image"] = "b:1"
    assert given_pod == {"spec": {"containers": [{"name": "server", "image": "b:1"}]}}
    assert _container(template)["image"] == "a:1"


def test_a_v1pod_becomes_the_json_that_the_client_would_send() -> None:
    pod = V1Pod(
        metadata=V1ObjectMeta(labels={"app": "arena"}),
        spec=V1PodSpec(
            containers=[V1Container(name="server", image="a:1", image_pull_policy="Never")]
        ),
    )
    made = GameServerTemplate(pod=pod).to_pod()
    assert made["metadata"] == {"labels": {"app": "arena"}}
    assert made["spec"]["containers"] == [
        {"name": "server", "image": "a:1", "imagePullPolicy": "Never"}
    ]


def test_a_server_that_ends_is_not_started_again_unless_the_pod_says_so() -> None:
    assert GameServerTemplate(image="a").to_pod()["spec"]["restartPolicy"] == "Never"
    again = GameServerTemplate(image="a", pod={"spec": {"restartPolicy": "Always"}})
    assert again.to_pod()["spec"]["restartPolicy"] == "Always"


@given(st.text(min_size=1, max_size=200))
def test_every_session_has_a_label_that_kubernetes_takes(session: str) -> None:
    check_labels("labels", {"session": session_label(session)})


@given(st.text(max_size=80), st.text(max_size=80))
def test_two_sessions_never_share_a_label(one: str, other: str) -> None:
    assert (session_label(one) == session_label(other)) == (one == other)


def test_server_names_are_dns_labels_of_their_fleet() -> None:
    name = new_server_name("a" * 52)
    assert len(name) == 63
    assert name.startswith("a" * 52 + "-")


def _container(template: GameServerTemplate) -> dict[str, Any]:
    container: dict[str, Any] = template.to_pod()["spec"]["containers"][0]
    return container


def test_a_namespace_may_begin_with_a_digit_and_a_path_is_none() -> None:
    assert check_namespace("Fleet.namespace", "3d-games") == "3d-games"
    for wrong in ("", "-games", "Games", "games/pods", "a" * 64):
        with pytest.raises(ConfigurationError, match=r"Fleet\.namespace"):
            check_namespace("Fleet.namespace", wrong)
