"""Which rights, which cluster, which namespace: and what is said when they are wrong."""

import base64
import json
import os
import subprocess
import sys
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
    exposure = HostPort(PortPool(26300, 26309), address=ANY_NODE)
    return Fleet(
        "arena", template=template(backend), exposure=exposure, cluster=cluster, namespace=namespace
    )


def test_missing_rights_are_named_at_once_and_what_to_do(backend: Backend) -> None:
    with pytest.raises(Forbidden) as caught:
        fleet_of(backend, Cluster(kubeconfig=backend.kubeconfig)).start()
    said = str(caught.value)
    assert 'cannot list resource "pods"' in said
    assert "apply what fleet.manifests() returns" in said


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


@pytest.mark.only("real", "the embedded cluster has no TLS: it is on a loopback address")
def test_an_untrusted_certificate_is_refused(backend: Backend, tmp_path: Path) -> None:
    config = json.loads(backend.kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]["server"]
    config["clusters"][0]["cluster"] = {"server": server}  # trust what the system trusts
    wrong = tmp_path / "wrong.kubeconfig"
    wrong.write_text(json.dumps(config))
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


IN_A_POD = """
import sys
from podfleet import *
fleet = Fleet(
    "arena",
    template=GameServerTemplate(image=sys.argv[1], ports=[Port("game", 7777, "UDP")]),
    exposure=HostPort(PortPool(26310, 26319), address=NodeAddress(internal=True)),
)
with fleet:
    server = fleet.allocate(timeout=60)
    print(server.namespace, server.endpoint.port)
    server.release()
"""

ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"  # /var/run is /run


@pytest.mark.only("real", "a process has no mounts of its own")
def test_inside_a_pod_the_service_account_is_used(backend: Backend, tmp_path: Path) -> None:
    """With the files and variables that a Pod has, in a mount namespace of its own."""
    if backend.cluster.ours is None:
        pytest.skip("on a cluster of one's own the API server's address is not known here")
    make(Fleet, backend)
    config = json.loads(backend.kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]
    (tmp_path / "token").write_text(config["users"][0]["user"]["token"])
    authority = base64.b64decode(server["certificate-authority-data"])
    (tmp_path / "ca.crt").write_bytes(authority)
    (tmp_path / "namespace").write_text(backend.namespace)
    host, _, port = server["server"].removeprefix("https://").partition(":")
    enter = f"mount -t tmpfs none /run && mkdir -p {ACCOUNT} && cp {tmp_path}/* {ACCOUNT}"
    run = [sys.executable, "-c", IN_A_POD, backend.cluster.image]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{enter} && exec "$@"', "sh", *run],
        env={**os.environ, "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{backend.namespace} 26310\n", "")
