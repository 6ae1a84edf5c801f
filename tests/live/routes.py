"""What a gateway would do with an endpoint, read from Istio's objects in the cluster.

Not a gateway: it knows the few fields that podfleet writes, and says where they lead. That Istio
itself and an Envoy do the same is tested on the real cluster.
"""

import re
from collections.abc import Iterator
from typing import Any

from attrs import evolve

from podfleet import Endpoint
from podfleet.model import Manifest
from podfleet.testing import TestCluster

ISTIO = "networking.istio.io/v1"


def follow(cluster: TestCluster, endpoint: Endpoint) -> Endpoint:
    """Return the Pod's own address that an endpoint leads to.

    Raises:
        OSError: It leads nowhere, yet.
    """
    found = list(_targets(cluster, endpoint))
    assert len(found) < 2, f"{endpoint} is ambiguous: {found}"
    if not found:
        raise OSError(f"no route for {endpoint}")
    ((host, port),) = found
    service, namespace, *domain = host.split(".")
    assert domain == ["svc", "cluster", "local"]
    for slice_ in cluster.objects("discovery.k8s.io/v1", "endpointslices", namespace):
        if slice_["metadata"]["labels"]["kubernetes.io/service-name"] == service:
            ports = [one["port"] for one in slice_["ports"] or []]
            for shown in slice_["endpoints"] or []:
                if port in ports:
                    return evolve(endpoint, host=shown["addresses"][0], port=port)
    raise OSError(f"Service {namespace}/{service} has no endpoint")


def _targets(cluster: TestCluster, endpoint: Endpoint) -> Iterator[tuple[str, int]]:
    gateways = {
        f"{one['metadata']['namespace']}/{one['metadata']['name']}": one["spec"]["servers"]
        for one in cluster.objects(ISTIO, "gateways", None)
        # A gateway of somebody's own is dialed at its own address.
        if one["spec"]["selector"]["istio"] in ("ingressgateway", endpoint.host.split(".")[0])
    }
    for route in cluster.objects(ISTIO, "virtualservices", None):
        spec = route["spec"]
        for name in spec["gateways"]:
            for gate in gateways.get(name, []):
                namespace = route["metadata"]["namespace"]
                if _lets_in(gate, spec, endpoint, f"{namespace}/" == name[: len(namespace) + 1]):
                    yield from _rules(spec, endpoint)


def _lets_in(gate: Any, spec: Any, endpoint: Endpoint, same_namespace: bool) -> bool:
    return (
        gate["port"]["number"] == endpoint.port
        and any(_covers(host, endpoint.host) for host in spec["hosts"])
        and any(
            _covers(host.removeprefix("./"), endpoint.host)
            and (same_namespace or not host.startswith("./"))
            for host in gate["hosts"]
        )
    )


def _rules(spec: Manifest, endpoint: Endpoint) -> Iterator[tuple[str, int]]:
    for kind, matches in (("http", _matches_http), ("tls", _matches_tls), ("tcp", _matches_tcp)):
        for rule in spec.get(kind, []):
            if any(matches(match, endpoint) for match in rule.get("match", [{}])):
                target = rule["route"][0]["destination"]
                yield target["host"], target["port"]["number"]


def _matches_http(match: Any, endpoint: Endpoint) -> bool:
    path = f"{endpoint.path}/join"
    uri = match.get("uri", {})
    headers = match.get("headers", {})
    return (
        path.startswith(uri.get("prefix", ""))
        and uri.get("exact", path) == path
        and all(endpoint.headers.get(name) == one["exact"] for name, one in headers.items())
    )


def _matches_tls(match: Any, endpoint: Endpoint) -> bool:
    return match["port"] == endpoint.port and endpoint.host in match["sniHosts"]


def _matches_tcp(match: Any, endpoint: Endpoint) -> bool:
    return bool(match["port"] == endpoint.port)


def _covers(pattern: str, host: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), host) is not None
