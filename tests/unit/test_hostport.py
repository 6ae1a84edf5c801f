"""HostPort and the address policy: pure, so by examples."""

from typing import Any

import pytest

from podfleet import (
    ClusterView,
    ConfigurationError,
    GameServerTemplate,
    HostPort,
    NodeAddress,
    Port,
    PortPool,
)
from podfleet.errors import Invalid
from podfleet.waiters.diagnosis import diagnose

TEMPLATE = GameServerTemplate(
    image="arena:1", ports=[Port("game", 7777, "TCPUDP"), Port("query", 7778, "UDP")]
)
VPS = {"status": {"addresses": [{"type": "InternalIP", "address": "8.8.8.8"}]}}
CLOUD = {
    "status": {
        "addresses": [
            {"type": "InternalIP", "address": "10.0.0.4"},
            {"type": "ExternalDNS", "address": "node-a.example.com"},
            {"type": "ExternalIP", "address": "2606:4700::7"},
            {"type": "ExternalIP", "address": "8.8.4.4"},
        ]
    }
}


def strategy(**address: Any) -> HostPort:
    return HostPort(PortPool(31000, 31999), address=NodeAddress(**address))


def running_pod(numbers: tuple[int, ...] = (31004, 31007)) -> dict[str, Any]:
    pod = TEMPLATE.to_pod()
    strategy().shape(pod, TEMPLATE, numbers)
    pod["spec"]["nodeName"] = "node-a"
    pod["status"] = {"phase": "Running", "hostIPs": [{"ip": "10.0.0.4"}]}
    return pod


def test_each_port_gets_a_number_and_tcpudp_one_for_both() -> None:
    ports = running_pod()["spec"]["containers"][0]["ports"]
    assert [(p["name"], p["hostPort"]) for p in ports] == [
        ("game-tcp", 31004),
        ("game-udp", 31004),
        ("query", 31007),
    ]
    assert strategy().held_ports(running_pod()) == (31004, 31007)


def test_endpoints_are_read_back_from_the_pod() -> None:
    pod = running_pod()
    for port in pod["spec"]["containers"][0]["ports"]:
        port["hostPort"] += 1000  # as a platform that hands out its own ports does
    found = strategy(fixed="203.0.113.7").endpoints(pod, TEMPLATE, ClusterView())
    assert found is not None
    assert [str(endpoint) for endpoint in found] == ["203.0.113.7:32004", "203.0.113.7:32007"]


def test_a_pod_without_a_node_has_no_endpoints_yet() -> None:
    assert strategy().endpoints(TEMPLATE.to_pod(), TEMPLATE, ClusterView()) is None


def test_an_ended_pod_still_holds_its_ports() -> None:
    pod = running_pod()
    pod["status"]["phase"] = "Succeeded"
    assert strategy().held_ports(pod) == (31004, 31007)


@pytest.mark.parametrize(
    ("policy", "node", "address"),
    [
        ({}, CLOUD, "2606:4700::7"),
        ({"prefer": "IPv4"}, CLOUD, "8.8.4.4"),
        ({"prefer": "IPv6"}, CLOUD, "2606:4700::7"),
        ({}, VPS, "8.8.8.8"),
        ({"internal": True}, None, "10.0.0.4"),
        ({"fixed": "play.example.com"}, None, "play.example.com"),
        ({"by_node": {"node-a": "1.1.1.1"}}, None, "1.1.1.1"),
        ({"by_node": {"10.0.0.4": "1.1.1.1"}}, None, "1.1.1.1"),
    ],
)
def test_the_address_policy(policy: dict[str, Any], node: Any, address: str) -> None:
    assert NodeAddress(**policy).choose("node-a", node, ["10.0.0.4"]) == address


@pytest.mark.parametrize("policy", [{}, {"by_node": {"node-b": "1.1.1.1"}}])
def test_an_address_is_never_guessed(policy: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="node-a"):
        NodeAddress(**policy).choose("node-a", None, ["10.0.0.4"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"internal": True, "fixed": "1.1.1.1"},
        {"fixed": ""},
        {"fixed": "http://example.com"},
        {"by_node": {"node-a": "[::1]"}},
        {"prefer": "IPv5"},
    ],
)
def test_a_wrong_policy_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"^NodeAddress"):
        NodeAddress(**wrong)


def test_the_right_to_read_nodes_is_asked_only_where_it_is_needed() -> None:
    assert [rule.resources for rule in strategy().rules()] == [("nodes",)]
    assert strategy(fixed="203.0.113.7").rules() == ()


@pytest.mark.parametrize(
    ("template", "field"),
    [
        (GameServerTemplate(image="arena:1"), "GameServerTemplate.ports"),
        (
            GameServerTemplate(
                image="a", ports=[Port("game", 1)], pod={"spec": {"hostNetwork": True}}
            ),
            "GameServerTemplate.pod",
        ),
    ],
)
def test_a_template_that_cannot_be_exposed_is_refused(
    template: GameServerTemplate, field: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        strategy().check(template)
    assert caught.value.field == field


def test_a_pool_smaller_than_one_server_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"HostPort\.pool"):
        HostPort(PortPool(31000, 31000)).check(TEMPLATE)


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (
            {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't "
                        "have free ports for the requested pod ports.",
                    }
                ],
            },
            True,
        ),
        ({"phase": "Failed", "reason": "NodePorts"}, True),
        ({"phase": "Failed", "reason": "Evicted"}, False),
        ({"phase": "Pending"}, False),
    ],
)
def test_only_a_taken_port_means_choose_again(status: dict[str, Any], refused: bool) -> None:
    assert strategy().refused({**running_pod(), "status": status}) is refused


def test_an_error_of_the_api_server_is_no_taken_port() -> None:
    assert not strategy().refused(Invalid("no", status=422))


def with_fixed(number: int, kind: str = "containers") -> GameServerTemplate:
    metrics = {
        "name": "metrics",
        "image": "m:1",
        "ports": [{"containerPort": 1, "hostPort": number}],
    }
    if kind == "initContainers":
        metrics["restartPolicy"] = "Always"  # a native sidecar runs beside the server
    return GameServerTemplate(
        image="arena:1", ports=[Port("game", 7777)], pod={"spec": {kind: [metrics]}}
    )


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_a_hostport_of_the_template_must_not_be_of_the_pool(kind: str) -> None:
    strategy().check(with_fixed(9000, kind))
    with pytest.raises(ConfigurationError, match=r"hostPort: 31004.*is in the pool"):
        strategy().check(with_fixed(31004, kind))


def test_a_pod_with_a_fixed_hostport_is_not_tried_on_other_numbers() -> None:
    message = (
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    )
    refusal = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    status = {"phase": "Pending", "conditions": [{**refusal, "message": message}]}
    plain, fixed = TEMPLATE.to_pod(), with_fixed(9000).to_pod()
    for pod, template in ((plain, TEMPLATE), (fixed, with_fixed(9000))):
        strategy().shape(pod, template, (31004, 31007)[: len(template.ports)])
        pod["status"] = status
    assert strategy().refused(plain)
    assert not strategy().refused(fixed)
    diagnosis = diagnose(fixed)
    assert diagnosis is not None
    assert "it asks for hostPort 9000, 31004; a node gives each to one Pod" in diagnosis.summary
