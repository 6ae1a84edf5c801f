"""What `preflight` finds: each wrong thing made for real, and mended as the finding says."""

import pytest

from podfleet import (
    ByHost,
    ConfigurationError,
    Finding,
    Fleet,
    HeadlessDNS,
    HostPort,
    IstioRoute,
    NodeAddress,
    NodePortPerPod,
    Port,
    PortPool,
)
from tests.cluster.fixtures import Backend
from tests.live.arena import ANY_NODE, eventually, make, own_ports, template

ENFORCE = "pod-security.kubernetes.io/enforce"


def only(findings: tuple[Finding, ...]) -> Finding:
    """Return the one finding, which has all its parts."""
    assert len(findings) == 1, [str(finding) for finding in findings]
    (finding,) = findings
    assert finding.what
    assert finding.why
    assert finding.remedy
    return finding


def one_soon(fleet: Fleet) -> Finding:
    """Return the one finding as soon as the cluster has taken note of what was changed."""
    eventually(lambda: len(fleet.preflight()) == 1)
    return only(fleet.preflight())


def settled(fleet: Fleet) -> tuple[Finding, ...]:
    """Return the findings once the rights have come into force."""
    eventually(lambda: not any("no right" in one.what for one in fleet.preflight()))
    return fleet.preflight()


def test_missing_rights_are_named_one_by_one(backend: Backend) -> None:
    fleet = make(Fleet, backend, grant=False)
    found = [finding.what for finding in fleet.preflight()]
    where = f"in namespace {backend.namespace}"
    for verb in ("get", "list", "watch", "create", "patch", "delete"):
        assert f"no right to {verb} pods {where}" in found
    assert "no right to get nodes" in found
    assert {finding.remedy for finding in fleet.preflight()} == {
        "apply what fleet.manifests() returns"
    }
    make(Fleet, backend)  # grants
    assert settled(fleet) == ()


def test_a_policy_that_forbids_host_ports(backend: Backend) -> None:
    fleet = make(Fleet, backend)
    path = f"/api/v1/namespaces/{backend.namespace}"
    backend.cluster.label(path, ENFORCE, "baseline")
    settled(fleet)
    finding = one_soon(fleet)
    assert "refuses this fleet's Pods" in finding.what
    assert "hostPort" in finding.why
    assert "NodePortPerPod" in finding.remedy
    command = finding.remedy.partition(";")[0]
    said = f"kubectl label --overwrite namespace {backend.namespace} {ENFORCE}=privileged"
    assert command == said
    backend.cluster.label(path, ENFORCE, "privileged")  # what that does
    eventually(lambda: fleet.preflight() == ())
    backend.cluster.label(path, ENFORCE, "baseline")
    nodeport = make(Fleet, backend, exposure=NodePortPerPod(address=ANY_NODE))
    assert settled(nodeport) == ()  # as the finding said


def test_a_pool_outside_of_the_range_of_node_ports(backend: Backend) -> None:
    exposure = NodePortPerPod(PortPool(29990, 30005), address=ANY_NODE)
    finding = only(settled(make(Fleet, backend, exposure=exposure)))
    assert "NodePortPerPod.pool" in finding.why
    assert "30000-32767" in finding.why
    with (
        make(
            Fleet, backend, exposure=NodePortPerPod(PortPool(29990, 29999), address=ANY_NODE)
        ) as fleet,
        pytest.raises(ConfigurationError, match="outside the cluster's range"),
    ):
        fleet.allocate(timeout=20)
    eventually(lambda: backend.pods() == [])


def test_nodes_without_an_address_that_players_can_dial(backend: Backend) -> None:
    exposure = HostPort(own_ports(10), address=NodeAddress())
    findings = settled(make(Fleet, backend, exposure=exposure))
    assert sorted(finding.what for finding in findings) == [
        "Node node-a has no usable address",
        "Node node-b has no usable address",
    ]
    assert all("internal=True" in finding.remedy for finding in findings)


def test_a_service_of_that_name_with_another_selector(backend: Backend) -> None:
    fleet = make(Fleet, backend, exposure=HeadlessDNS(), grant=False)
    backend.grant(
        tuple(one for one in fleet.manifests(backend.account) if one["kind"] != "Service")
    )
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "arena", "namespace": backend.namespace},
        "spec": {"clusterIP": "None", "selector": {"app": "shop"}},
    }
    backend.cluster.apply([service])
    finding = only(settled(fleet))
    assert f"Service {backend.namespace}/arena differs" in finding.what
    assert "'app': 'shop'" in finding.what
    with pytest.raises(ConfigurationError, match="not this fleet's"):
        fleet.start()


def test_a_quota_that_is_used_up(backend: Backend) -> None:
    fleet = make(Fleet, backend)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": backend.namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    backend.cluster.apply([quota])
    settled(fleet)
    finding = one_soon(fleet)
    assert "exceeded quota" in finding.why
    assert finding.remedy == "raise the quota: it is less than one server needs"


def test_an_api_that_the_cluster_does_not_serve(backend: Backend) -> None:
    exposure = IstioRoute(ByHost("play.example.com"))
    settings = template(backend, ports=[Port("game", 8080, "TCP")])
    fleet = make(Fleet, backend, template=settings, exposure=exposure, grant=False)
    rights = [one for one in fleet.manifests(backend.account) if one["kind"] != "Gateway"]
    backend.grant(tuple(rights))
    with pytest.raises(ConfigurationError, match=r"does not serve networking\.istio\.io/v1"):
        fleet.allocate(timeout=10)
    assert any("does not serve" in finding.what for finding in fleet.preflight())
    assert backend.pods() == []
