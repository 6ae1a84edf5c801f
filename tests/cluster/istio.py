"""Istio's control plane, and an Envoy that it makes a gateway."""

import json
import socket
from pathlib import Path
from typing import Self

from tests.cluster.cluster import NODES
from tests.cluster.places import HOST, KUBECONFIG, STATE
from tests.cluster.process import Component

NAMESPACE = "istio-system"

_XDS_PORT = 15010
_NODE = NODES[-1]
_MESH = {
    # A stock Envoy has none of Istio's own filters, and speaks no mutual TLS to Pods.
    "enableAutoMtls": False,
}
_ISTIOD_SETTINGS = {
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "ENABLE_CA_SERVER": "false",
    "POD_NAMESPACE": NAMESPACE,
}


class Gateway:
    """A gateway in the network of a node.

    Args:
        istiod: The program that configures it.
        envoy: The program that it is.
    """

    address = _NODE.address

    def __init__(self, istiod: Path, envoy: Path) -> None:
        self._istiod, self._envoy = istiod, envoy
        self._components: list[Component] = []

    def __enter__(self) -> Self:
        """Start both."""
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop both."""
        for component in reversed(self._components):
            component.stop()

    def _start(self) -> None:
        folder = STATE / "istio"
        folder.mkdir(exist_ok=True)
        mesh = folder / "mesh.json"
        mesh.write_text(json.dumps(_MESH))
        istiod = Component(
            "istiod",
            [
                *("env", *(f"{key}={value}" for key, value in _ISTIOD_SETTINGS.items())),
                *(self._istiod, "discovery", f"--kubeconfig={KUBECONFIG}", f"--meshConfig={mesh}"),
                *(f"--grpcAddr={HOST}:{_XDS_PORT}", "--httpAddr=127.0.0.1:15080"),
                *("--httpsAddr=", "--secureGRPCAddr=", "--monitoringAddr=127.0.0.1:15014"),
                *("--ctrlz_port=0", "--log_output_level=default:warn"),
            ],
        )
        self._components.append(istiod)
        istiod.wait_until(lambda: _listens(HOST, _XDS_PORT), "it serves its configuration")
        bootstrap = folder / "envoy.json"
        bootstrap.write_text(json.dumps(_bootstrap()))
        envoy = Component(
            "envoy",
            [
                *(self._envoy, "-c", bootstrap, "--concurrency", 1, "--disable-hot-restart"),
                *("--log-level", "warning"),
            ],
            enter=("nsenter", _NODE.enter),
        )
        self._components.append(envoy)


def _bootstrap() -> dict[str, object]:
    source = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {
            "id": f"router~{Gateway.address}~gateway.{NAMESPACE}~{NAMESPACE}.svc.cluster.local",
            "cluster": f"gateway.{NAMESPACE}",
            "metadata": {
                "NAMESPACE": NAMESPACE,
                "LABELS": {"istio": "ingressgateway"},
                "CLUSTER_ID": "Kubernetes",
            },
        },
        "dynamic_resources": {
            "lds_config": source,
            "cds_config": source,
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "istiod"}}],
            },
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "istiod",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "http2_protocol_options": {},
                    "load_assignment": {
                        "cluster_name": "istiod",
                        "endpoints": [{"lb_endpoints": [{"endpoint": _address(HOST, _XDS_PORT)}]}],
                    },
                }
            ]
        },
    }


def _address(host: str, port: int) -> dict[str, object]:
    return {"address": {"socket_address": {"address": host, "port_value": port}}}


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
