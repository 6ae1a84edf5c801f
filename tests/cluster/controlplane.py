"""The control plane: etcd, API server, controller manager, scheduler, CoreDNS."""

import ssl
import time
import urllib.request
from pathlib import Path

from tests.cluster import etcd as etcds
from tests.cluster.build import Programs
from tests.cluster.credentials import SERVER, Credentials
from tests.cluster.places import API_PORT, CLUSTER_DNS, HOST, KUBECONFIG, PODS, SERVICES, STATE
from tests.cluster.process import Component, run

_ETCD = etcds.PORT
API_SERVER = "kube-apiserver"
# The defaults (50 a second for the scheduler) would be what limits a test with 1,000 Pods.
_FAST = ("--kube-api-qps=2000", "--kube-api-burst=4000")

_COREFILE = """\
cluster.local:53 {{
    bind {address}
    kubernetes cluster.local {{
        kubeconfig {kubeconfig}
        ttl 1
    }}
    errors
}}
"""


def start(programs: Programs, credentials: Credentials) -> list[Component]:
    """Start the control plane; return when the API server is ready."""
    folder = credentials.folder
    kubernetes = programs["kubernetes"]
    etcd = Component(
        "etcd",
        [
            programs["etcd"],
            f"--data-dir={STATE}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{_ETCD}",
            f"--advertise-client-urls=http://127.0.0.1:{_ETCD}",
            f"--listen-peer-urls=http://127.0.0.1:{_ETCD + 1}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{_ETCD + 1}",
            f"--initial-cluster=default=http://127.0.0.1:{_ETCD + 1}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
    )
    key = folder / "service-account.key"
    run("openssl", "genrsa", "-out", key, "2048")
    clients = folder / "clients.crt"
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
        *("-subj", "/CN=podfleet-test-clients", "-keyout", folder / "clients.key"),
        *("-out", clients),
    )
    apiserver = Component(
        API_SERVER,
        [
            kubernetes,
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{_ETCD}",
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            f"--secure-port={API_PORT}",
            f"--cert-dir={folder}",
            f"--token-auth-file={credentials.tokens}",
            f"--client-ca-file={clients}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            f"--service-cluster-ip-range={SERVICES}",
            "--kubelet-preferred-address-types=InternalIP",
            "--default-not-ready-toleration-seconds=30",
            "--default-unreachable-toleration-seconds=30",
            "--allow-privileged=true",
            # a burst of creates in a test is no attack
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
        ],
    )
    apiserver.wait_until(credentials.certificate.exists, "its certificate was made")
    apiserver.wait_until(lambda: ready(credentials.certificate), "ready")
    admin = credentials.kubeconfig("admin", KUBECONFIG)
    return [
        etcd,
        apiserver,
        Component(
            "kube-controller-manager",
            [
                kubernetes,
                "kube-controller-manager",
                f"--kubeconfig={credentials.kubeconfig('system:kube-controller-manager')}",
                f"--service-account-private-key-file={key}",
                f"--root-ca-file={credentials.certificate}",
                "--use-service-account-credentials",
                "--leader-elect=false",
                f"--cluster-cidr={PODS}",
                "--node-monitor-grace-period=20s",
                f"--flex-volume-plugin-dir={STATE}/plugins",
                *_FAST,
            ],
        ),
        Component(
            "kube-scheduler",
            [
                kubernetes,
                "kube-scheduler",
                f"--kubeconfig={credentials.kubeconfig('system:kube-scheduler')}",
                "--leader-elect=false",
                *_FAST,
            ],
        ),
        _coredns(programs, folder, admin),
    ]


def ready(certificate: Path, patience: float = 0.0) -> bool:
    """Return whether the API server says that it is ready, within so many seconds."""
    trust = ssl.create_default_context(cafile=str(certificate))
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(f"{SERVER}/readyz", timeout=2, context=trust) as answer:
                return bool(answer.status == 200)
        except OSError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.2)


def _coredns(programs: Programs, folder: Path, kubeconfig: Path) -> Component:
    corefile = folder / "Corefile"
    corefile.write_text(_COREFILE.format(address=CLUSTER_DNS, kubeconfig=kubeconfig))
    return Component("coredns", [programs["coredns"], "-conf", corefile])
