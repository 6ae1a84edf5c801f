"""What Kubernetes takes in a template, podfleet takes; what it refuses, podfleet refuses first."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podfleet import (
    ConfigurationError,
    GameServerTemplate,
    HeadlessDNS,
    HostPort,
    NodePortPerPod,
    Port,
    PortPool,
)
from podfleet.fleet.spec import FleetSpec
from podfleet.model.quantity import parse_quantity

GAME = Port("game", 7777)

# As Helm renders a chart whose values are empty.
WITH_NULLS: list[dict[str, Any]] = [
    {"metadata": None},
    {"spec": None},
    {"apiVersion": None, "kind": None, "metadata": None, "spec": None, "status": None},
    {"metadata": {"labels": None, "annotations": None, "name": None}},
    {"spec": {"containers": None}},
    {"spec": {"containers": [], "volumes": None, "nodeSelector": None, "tolerations": None}},
    {"spec": {"restartPolicy": None, "hostNetwork": None, "initContainers": None}},
    {
        "spec": {
            "containers": [
                {
                    "name": "server",
                    "image": None,
                    "args": None,
                    "command": None,
                    "env": None,
                    "ports": None,
                    "resources": None,
                    "volumeMounts": None,
                    "securityContext": None,
                    "readinessProbe": None,
                }
            ]
        }
    },
    {
        "spec": {
            "containers": [
                {
                    "name": "server",
                    "ports": [{"containerPort": 7777, "protocol": None, "hostPort": None}],
                    "env": [{"name": "A", "value": None, "valueFrom": None}],
                    "volumeMounts": [{"name": "a", "mountPath": "/a", "subPath": None}],
                    "resources": {"requests": None, "limits": {"cpu": None}},
                }
            ],
            "volumes": [{"name": "a", "emptyDir": None}],
        }
    },
]


@pytest.mark.parametrize("pod", WITH_NULLS, ids=lambda pod: json.dumps(pod)[:60])
@pytest.mark.parametrize(
    "exposure",
    [HostPort(PortPool(31000, 31009)), NodePortPerPod(), HeadlessDNS()],
    ids=lambda exposure: type(exposure).__name__,
)
def test_a_null_in_a_manifest_is_a_field_that_is_not_there(pod: Any, exposure: Any) -> None:
    template = GameServerTemplate(
        image="arena:1",
        ports=[GAME],
        labels={"app": "arena"},
        annotations={"note": "x"},
        env={"MAP": "desert"},
        node_selector={"disk": "ssd"},
        tolerations=[{"key": "games", "operator": "Exists"}],
        slots=2,
        pod=pod,
    )
    before = json.dumps(pod)
    spec = FleetSpec(name="arena", template=template, exposure=exposure)
    made = spec.pod("games", "arena-1", (31000,)[: exposure.ports_needed(template)])
    assert "null" not in json.dumps(made)
    assert made["metadata"]["labels"]["app"] == "arena"
    (container,) = made["spec"]["containers"]
    assert container["image"] == "arena:1"
    assert {port["containerPort"] for port in container["ports"]} == {7777}
    assert made["spec"]["restartPolicy"] == "Never"
    assert json.dumps(pod) == before  # the caller's own stays as it is


def test_a_null_in_a_map_of_strings_is_an_empty_string() -> None:
    pod = {"metadata": {"annotations": {"note": None}, "labels": {"app": None}}}
    made = GameServerTemplate(image="arena:1", pod=pod).to_pod()
    assert made["metadata"] == {"annotations": {"note": ""}, "labels": {"app": ""}}


def a_cycle() -> dict[str, Any]:
    pod: dict[str, Any] = {}
    pod["spec"] = pod
    return pod


def a_deep_one(levels: int = 5000) -> dict[str, Any]:
    pod: dict[str, Any] = {}
    for _ in range(levels):
        pod = {"spec": pod}
    return pod


@pytest.mark.parametrize(
    ("pod", "field"),
    [
        (5, ""),
        ("metadata: {}", ""),
        ([], ""),
        ({"spec": []}, ".spec"),
        ({"metadata": "x"}, ".metadata"),
        ({1: {}}, ""),
        ({"spec": {"containers": "server"}}, ".spec.containers"),
        ({"spec": {"containers": {"name": "server"}}}, ".spec.containers"),
        ({"spec": {"containers": [None]}}, ".spec.containers[0]"),
        ({"spec": {"containers": ["server"]}}, ".spec.containers[0]"),
        ({"spec": {"containers": [{"image": "a"}]}}, ".spec.containers[0].name"),
        ({"spec": {"containers": [{"name": "A b"}]}}, ".spec.containers[0].name"),
        (
            {"spec": {"initContainers": [{"name": "a"}], "containers": [{"name": "a"}]}},
            ".spec.containers[0].name",
        ),
        (
            {"spec": {"containers": [{"name": "a", "ports": {"game": 1}}]}},
            ".spec.containers[0].ports",
        ),
        (
            {"spec": {"containers": [{"name": "a", "ports": [7777]}]}},
            ".spec.containers[0].ports[0]",
        ),
        (
            {"spec": {"containers": [{"name": "a", "env": {"A": "b"}}]}},
            ".spec.containers[0].env",
        ),
        (
            {"spec": {"containers": [{"name": "a", "env": [{"value": "b"}]}]}},
            ".spec.containers[0].env[0]",
        ),
        (
            {"spec": {"containers": [{"name": "a", "resources": {"cpu": "1"}}]}},
            ".spec.containers[0].resources",
        ),
        ({"spec": {"hostNetwork": "true"}}, ".spec.hostNetwork"),
        (
            {"spec": {"terminationGracePeriodSeconds": "5"}},
            ".spec.terminationGracePeriodSeconds",
        ),
        ({"spec": {"nodeSelector": {"disk": True}}}, ".spec.nodeSelector['disk']"),
        ({"metadata": {"annotations": {"a": 1}}}, ".metadata.annotations['a']"),
        ({"metadata": {"annotations": {"a": "\ud800"}}}, ".metadata.annotations.a"),
        ({"metadata": {"labels": {"podfleet.dev/session": "x"}}}, ".metadata.labels"),
        ({"metadata": {"annotations": {"at": datetime.date(2026, 1, 1)}}}, ".metadata"),
        ({"spec": {"x": {1, 2}}}, ".spec.x"),
        ({"spec": {"x": b"bytes"}}, ".spec.x"),
        ({"spec": {"x": float("nan")}}, ".spec.x"),
        ({"spec": {"x": object()}}, ".spec.x"),
        ({"spec": {"x": 10**5000}}, ".spec.x"),
        ({"kind": "Deployment"}, ".kind"),
        (a_cycle(), ".spec.spec"),
        (a_deep_one(), ".spec.spec"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
def test_what_is_no_pod_is_refused_with_its_path(pod: Any, field: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        GameServerTemplate(image="arena:1", pod=pod)
    assert refused.value.field.startswith(f"GameServerTemplate.pod{field}")
    assert len(str(refused.value)) < 1500


@pytest.mark.parametrize(
    ("resources", "field", "words"),
    [
        ({"cpu": "1"}, "", "must be 'requests' or 'limits'"),
        ({"request": {"cpu": "1"}}, "", "must be 'requests' or 'limits'"),
        ({"requests": {"cpu": "lots"}}, ".requests.cpu", "must be a quantity"),
        ({"requests": {"cpu": True}}, ".requests.cpu", "must be a quantity"),
        ({"requests": {"cpu": "-1"}}, ".requests.cpu", "must be 0 or more"),
        ({"requests": {"cpus": "1"}}, ".requests.cpus", "no such resource"),
        ({"requests": "1"}, ".requests", "must be a dict"),
        ({"limits": {"nvidia.com/gpu": "0.5"}}, ".limits['nvidia.com/gpu']", "whole number"),
        (
            {"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}},
            ".requests.memory",
            "is above its limit, '1G'",
        ),
        ("cpu=1", "", "must be a dict"),
        ({"claims": {"name": "gpu"}}, ".claims", "must be a list"),
    ],
)
def test_resources_that_kubernetes_refuses_are_refused(
    resources: Any, field: str, words: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        GameServerTemplate(image="arena:1", resources=resources)
    assert refused.value.field == f"GameServerTemplate.resources{field}"
    assert words in refused.value.advice


@pytest.mark.parametrize(
    "resources",
    [
        {"requests": {"cpu": 1, "memory": 1e9}, "limits": {"cpu": 1.5}},
        {"requests": {"cpu": "0.5", "memory": "512m"}},
        {"limits": {"memory": "1e9", "ephemeral-storage": "2Gi", "hugepages-2Mi": "4Mi"}},
        {"requests": {"cpu": "1000m"}, "limits": {"cpu": "1"}},
        {"limits": {"nvidia.com/gpu": 1}, "claims": [{"name": "gpu"}]},
        {"requests": None, "limits": {"memory": None}},
        None,
        {},
    ],
)
def test_resources_that_kubernetes_takes_are_taken(resources: Any) -> None:
    made = GameServerTemplate(image="arena:1", resources=resources).to_pod()
    shown = made["spec"]["containers"][0].get("resources", {})
    assert shown == {k: {a: b for a, b in v.items() if b is not None} if isinstance(v, dict) else v
                     for k, v in (resources or {}).items() if v is not None}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "number"),
    [
        # of k8s.io/apimachinery, pkg/api/resource/quantity_test.go
        ("0", 0), ("0Ki", 0), ("-0", 0), ("+5", 5), ("-1", -1), ("00.5", "0.5"), ("1.", 1),
        (".5", "0.5"), ("1n", "1e-9"), ("1u", "1e-6"), ("1500m", "1.5"), ("1k", 1000),
        ("1M", 10**6), ("1G", 10**9), ("1T", 10**12), ("1P", 10**15), ("1E", 10**18),
        ("1Ki", 1024), ("1.5Mi", 1572864), ("1Gi", 2**30), ("1Ei", 2**60), ("1e3", 1000),
        ("1E3", 1000), ("1e-3", "0.001"), ("12.5e+2", 1250), (" 1 ", 1), (3, 3), (0.25, "0.25"),
    ],
)  # fmt: skip
def test_a_quantity_is_read_as_kubernetes_reads_it(text: Any, number: Any) -> None:
    assert parse_quantity("cpu", text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    ["", " ", "1.1.M", "1+1.0M", "0.1mi", "0.1am", "aoeu", ".5i", "1i", "-3.01i", "1K", "1 Gi",
     "1ki", "1MB", "1e", "1e1.5", "--1", "1_000", "\u0661", "\u00a01x", "1\n2", None, True, [],
     b"1", float("nan"), float("inf"), "9" * 5000],
)  # fmt: skip
def test_what_is_no_quantity_is_refused(text: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a quantity"):
        parse_quantity("cpu", text)


@given(
    st.integers(0, 10**12),
    st.sampled_from(["", "m", "k", "Ki", "Mi", "G", "e2", "E-3"]),
)
def test_a_quantity_grows_with_its_number(number: int, suffix: str) -> None:
    assert parse_quantity("a", f"{number}{suffix}") < parse_quantity("a", f"{number + 1}{suffix}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ports", "game"),
        ("ports", GAME),
        ("ports", 7777),
        ("ports", [7777]),
        ("ports", {"game": 7777}),
        ("tolerations", "games"),
        ("tolerations", {"key": "games"}),
        ("tolerations", ["games"]),
        ("args", "--map=desert"),
        ("args", b"x"),
        ("args", [1]),
        ("args", ["\udcff"]),
        ("command", "/server"),
        ("command", {"a": 1}),
        ("command", 5),
        ("env", "A=b"),
        ("env", [("A", "b")]),
        ("env", {"A": 1}),
        ("env", {"A": None}),
        ("env", {"A": "\x00"}),
        ("env", {"A": "\ud800"}),
        ("env", {"É": "b"}),
        ("labels", "app"),
        ("labels", {"app": "\ud800"}),
        ("labels", {5: "x"}),
        ("annotations", ["a"]),
        ("annotations", {"a": "x" * 300_000}),
        ("node_selector", {"disk": True}),
        ("node_selector", {"not a key": "x"}),
        ("node_selector", "disk=ssd"),
        ("image", "\ud800"),
        ("image", 5),
        ("slots", "2"),
    ],
)
def test_a_field_of_another_type_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        GameServerTemplate(**{"image": "arena:1", name: value})
    assert refused.value.field.startswith(f"GameServerTemplate.{name}")


def test_what_yields_its_items_once_is_read_once() -> None:
    template = GameServerTemplate(
        image="arena:1", ports=(Port(f"p{n}", n) for n in (1, 2)), args=iter(["a", "b"])
    )
    assert [port.number for port in template.ports] == [1, 2]
    assert template.to_pod() == template.to_pod()
    assert template.args == ("a", "b")


def test_an_annotation_may_have_capital_letters_in_its_domain() -> None:
    pod = GameServerTemplate(image="a", annotations={"Acme.COM/Owner": "games"}).to_pod()
    assert pod["metadata"]["annotations"] == {"Acme.COM/Owner": "games"}


def test_the_error_shows_any_value_whatever_its_repr() -> None:
    class Evil:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    for value in (Evil(), 10**5000, "x" * 10_000, a_deep_one()):
        error = ConfigurationError("Port.number", value, "must be between 1 and 65535")
        assert len(str(error)) < 500
        assert error.value is value


def test_a_session_with_half_a_character_is_refused() -> None:
    from podfleet.model.names import check_session

    with pytest.raises(ConfigurationError, match="half of a character"):
        check_session("match-\ud800")


def test_the_name_of_a_secret_may_have_dots() -> None:
    from podfleet import ByHost, ByPath

    assert ByHost("play.example.com", tls="play.example.com").tls == "play.example.com"
    assert ByPath(tls="play.example.com").tls == "play.example.com"
    with pytest.raises(ConfigurationError):
        ByHost("play.example.com", tls="Play_example")
