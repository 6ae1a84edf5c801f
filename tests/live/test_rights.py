"""Which rights, which cluster, which namespace: and what is said when they are wrong."""

from pathlib import Path

import pytest
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import load_kube_config

from podfleet import (
    Cluster,
    ConfigurationError,
    Fleet,
    Forbidden,
    HostPort,
    PortPool,
    TransportError,
    Unauthorized,
)
from tests.cluster.credentials import write_kubeconfig
from tests.cluster.fixtures import Backend
from tests.live.arena import ANY_NODE, make, over_udp, template


def fleet_of(backend: Backend, cluster: Cluster, namespace: str | None = None) -> Fleet:
    """Return a fleet without granting it anything."""
    exposure = HostPort(PortPool(31300, 31309), address=ANY_NODE)
    return Fleet(
        "arena", template=template(backend), exposure=exposure, cluster=cluster, namespace=namespace
    )


def test_missing_rights_are_named_at_once_and_what_to_do(backend: Backend) -> None:
    with pytest.raises(Forbidden) as caught:
        fleet_of(backend, Cluster(kubeconfig=backend.kubeconfig)).start()
    said = str(caught.value)
    assert 'cannot list resource "pods"' in said
    assert "apply the Role that fleet.rbac() prints" in said


def test_wrong_credentials_are_told_at_once(backend: Backend, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.kubeconfig"
    wrong.write_text(backend.kubeconfig.read_text().replace('"token": "', '"token": "x'))
    with pytest.raises(Unauthorized, match="check the credentials"):
        fleet_of(backend, Cluster(kubeconfig=wrong)).start()


def test_no_secret_is_in_an_error_or_a_repr(backend: Backend, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.kubeconfig"
    secret = "a-token-that-nobody-may-see"
    write_kubeconfig(wrong, secret, Path("/nonexistent"), server="http://127.0.0.1:1")
    fleet = fleet_of(backend, Cluster(kubeconfig=wrong))
    with pytest.raises(TransportError) as caught:
        fleet.allocate(timeout=1)
    assert secret not in repr(caught.value) + str(caught.value) + repr(fleet)


def test_an_untrusted_certificate_is_refused(backend: Backend, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.kubeconfig"
    config = backend.kubeconfig.read_text()
    lines = [line for line in config.splitlines() if "certificate-authority" not in line]
    wrong.write_text("\n".join(lines).replace(':16443",', ':16443"'))
    with pytest.raises(ConfigurationError, match="certificate cannot be verified"):
        fleet_of(backend, Cluster(kubeconfig=wrong)).start()


def test_a_kubeconfig_that_is_not_there_is_named(backend: Backend, tmp_path: Path) -> None:
    missing = tmp_path / "missing.kubeconfig"
    with pytest.raises(ConfigurationError, match=r"missing\.kubeconfig.*does not exist"):
        fleet_of(backend, Cluster(kubeconfig=missing)).start()


def test_a_context_that_is_not_there_is_named(backend: Backend) -> None:
    with pytest.raises(ConfigurationError, match="moon"):
        fleet_of(backend, Cluster(kubeconfig=backend.kubeconfig, context="moon")).start()


def test_the_clusters_own_namespace_is_the_default(backend: Backend) -> None:
    make(Fleet, backend)
    with fleet_of(backend, Cluster(kubeconfig=backend.kubeconfig)) as fleet:
        assert fleet.allocate(timeout=30).namespace == backend.namespace


def test_kubeconfig_of_the_environment(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    make(Fleet, backend)
    monkeypatch.setenv("KUBECONFIG", str(backend.kubeconfig))
    with fleet_of(backend, Cluster()) as fleet:
        assert fleet.servers() == []


def test_a_given_client_brings_server_and_credentials(backend: Backend) -> None:
    make(Fleet, backend)
    configuration = Configuration()
    load_kube_config(str(backend.kubeconfig), client_configuration=configuration)
    cluster = Cluster(client=ApiClient(configuration))
    with fleet_of(backend, cluster, namespace=backend.namespace) as fleet:
        server = fleet.allocate(timeout=30)
        assert over_udp(server.endpoint) == f"{server.name} hello"
