"""`NodeAddress` on Nodes as k3s, kind and clouds show them."""

from typing import Any

import pytest

from podfleet import ByPath, ConfigurationError, IstioRoute, NodeAddress


def node(*addresses: tuple[str, str], annotations: dict[str, str] | None = None) -> dict[str, Any]:
    listed = [{"type": kind, "address": address} for kind, address in addresses]
    metadata = {"name": "node-a", "annotations": annotations or {}}
    return {"metadata": metadata, "status": {"addresses": listed}}


K3S = node(
    ("InternalIP", "10.0.0.4"),
    ("Hostname", "node-a"),
    annotations={"k3s.io/internal-ip": "10.0.0.4", "game.example.com/address": "203.0.113.9"},
)
K3S_WITH_EXTERNAL_IP = node(
    ("InternalIP", "10.0.0.4"), ("ExternalIP", "203.0.113.4"), ("Hostname", "node-a")
)
VPS = node(("InternalIP", "8.8.4.4"), ("Hostname", "node-a"))
KIND = node(("InternalIP", "172.18.0.2"), ("Hostname", "kind-control-plane"))
GKE = node(("InternalIP", "10.128.0.7"), ("ExternalIP", "34.90.12.8"), ("Hostname", "gke-pool-1"))
EKS = node(
    ("InternalIP", "192.168.30.7"),
    ("ExternalIP", "3.120.4.5"),
    ("InternalDNS", "ip-192-168-30-7.eu-central-1.compute.internal"),
    ("ExternalDNS", "ec2-3-120-4-5.eu-central-1.compute.amazonaws.com"),
    ("Hostname", "ip-192-168-30-7.eu-central-1.compute.internal"),
)
ONLY_DNS = node(("InternalIP", "10.0.0.4"), ("ExternalDNS", "node-a.example.com"))
DUAL = node(
    ("InternalIP", "10.0.0.4"),
    ("ExternalIP", "203.0.113.4"),
    ("ExternalIP", "2a01:4f8::4"),
)
INTERNAL_DUAL = node(("InternalIP", "10.0.0.4"), ("InternalIP", "fd00::4"))

NO_HOSTS = (
    "", " ", "1.2.3.4:7000", "play.example.com:7000", "http://example.com", "example.com/x",
    "[::1]",
    "fe80::1%eth0", "::1:zz", "a_b", "-a.example", "a..example", "256.1.1.1", "1.2.3", "0.0.0.0",
    "224.0.0.1", "bücher.example", f"{'a' * 64}.example", "two words", 5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "shown", "expected"),
    [
        (NodeAddress(), K3S_WITH_EXTERNAL_IP, "203.0.113.4"),
        (NodeAddress(), VPS, "8.8.4.4"),
        (NodeAddress(), GKE, "34.90.12.8"),
        (NodeAddress(), EKS, "3.120.4.5"),
        (NodeAddress(), ONLY_DNS, "node-a.example.com"),
        (NodeAddress(internal=True), K3S, "10.0.0.4"),
        (NodeAddress(internal=True), GKE, "34.90.12.8"),
        (NodeAddress(fixed="127.0.0.1"), KIND, "127.0.0.1"),
        (NodeAddress(by_node={"node-a": "203.0.113.7"}), K3S, "203.0.113.7"),
        (NodeAddress(by_node={"10.0.0.4": "203.0.113.7"}), K3S, "203.0.113.7"),
        (NodeAddress(by_annotation="game.example.com/address"), K3S, "203.0.113.9"),
        (NodeAddress(by_function=lambda one: f"{one['metadata']['name']}.example.com"), K3S,
         "node-a.example.com"),
        (NodeAddress(), DUAL, "203.0.113.4"),
        (NodeAddress(prefer="IPv6"), DUAL, "2a01:4f8::4"),
        (NodeAddress(prefer="IPv4"), DUAL, "203.0.113.4"),
        (NodeAddress(prefer="IPv6"), GKE, "34.90.12.8"),
        (NodeAddress(internal=True, prefer="IPv6"), INTERNAL_DUAL, "fd00::4"),
    ],
)  # fmt: skip
def test_the_address_of_a_node(rule: NodeAddress, shown: dict[str, Any], expected: str) -> None:
    assert rule.of_node(shown) == expected


@pytest.mark.parametrize(
    ("rule", "shown", "says"),
    [
        (NodeAddress(), K3S, "only 10.0.0.4: pass NodeAddress(internal=True)"),
        (NodeAddress(), KIND, "only 172.18.0.2"),
        (NodeAddress(), node(), "only none at all"),
        (NodeAddress(by_node={"node-b": "203.0.113.7"}), K3S, "names no address for this node"),
        (NodeAddress(by_annotation="game.example.com/ip"), K3S,
         "annotate the Node: game.example.com/ip=<address>"),
        (NodeAddress(by_function=lambda _: None), K3S, "gives None for this node"),
        (NodeAddress(by_function=lambda _: "two words"), K3S, "gives 'two words'"),
        (NodeAddress(by_function=lambda one: one["x"]), K3S, "raised KeyError for this node"),
        (NodeAddress(by_annotation="ip"), node(annotations={"ip": "203.0.113.9:7000"}),
         "gives '203.0.113.9:7000' for this node: must be an IP address or a DNS name alone"),
        (NodeAddress(), node(("ExternalIP", "203.0.113.9:80")), "shows '203.0.113.9:80'"),
    ],
)  # fmt: skip
def test_a_node_without_one_is_named_and_what_to_set(
    rule: NodeAddress, shown: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        rule.of_node(shown)
    assert says in str(refused.value)
    assert "node-a" in str(refused.value)


def test_without_rights_on_nodes_the_pod_tells() -> None:
    pod = {"spec": {"nodeName": "node-a"}, "status": {"hostIPs": [{"ip": "10.0.0.4"}]}}
    assert NodeAddress(internal=True).of_pod(pod, None) == "10.0.0.4"
    with pytest.raises(ConfigurationError, match="cannot be read: grant the right"):
        NodeAddress(by_annotation="game.example.com/address").of_pod(pod, None)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("NodeAddress", {"internal": True, "fixed": "203.0.113.7"}),
        ("NodeAddress", {"by_annotation": "a", "by_function": str}),
        ("NodeAddress.fixed", {"fixed": ""}),
        *(("NodeAddress.fixed", {"fixed": host}) for host in NO_HOSTS),
        *(("NodeAddress.by_node['node-a']", {"by_node": {"node-a": host}}) for host in NO_HOSTS),
        ("NodeAddress.by_node", {"by_node": {"": "203.0.113.7"}}),
        ("NodeAddress.by_node", {"by_node": [("node-a", "203.0.113.7")]}),
        ("NodeAddress.internal", {"internal": "yes"}),
        ("NodeAddress.by_annotation", {"by_annotation": ""}),
        ("NodeAddress.by_annotation", {"by_annotation": "game address"}),
        ("NodeAddress.prefer", {"prefer": ["IPv6"]}),
        ("NodeAddress.by_function", {"by_function": "node-a"}),
        ("NodeAddress.prefer", {"prefer": 6}),
    ],
)
def test_wrong_arguments_are_named(field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        NodeAddress(**arguments)
    assert refused.value.field == field


@pytest.mark.parametrize("rule", [NodeAddress(), NodeAddress(internal=True)])
def test_an_address_that_the_node_has_lost_is_not_taken_from_its_pod(rule: NodeAddress) -> None:
    pod = {"spec": {"nodeName": "node-a"}, "status": {"hostIPs": [{"ip": "8.8.4.4"}]}}
    assert rule.of_pod(pod, VPS) == "8.8.4.4"
    with pytest.raises(ConfigurationError, match="only none at all"):
        rule.of_pod(pod, node())


@pytest.mark.parametrize(
    "host", ["203.0.113.7", "2001:db8::7", "Play.Example.com", "eu.example.", "x"]
)
def test_what_clients_can_dial_is_taken(host: str) -> None:
    assert NodeAddress(fixed=host).fixed == host


def test_the_gateway_of_istio_has_an_address_that_clients_can_dial() -> None:
    with pytest.raises(ConfigurationError, match=r"IstioRoute\.address.*leave the port out"):
        IstioRoute(ByPath(), address="203.0.113.7:80")
