"""Objects that are not a fleet's, beside it, under names that are like a fleet's."""

from typing import Any

from podfleet.model import Manifest
from podfleet.model.manifest import name_of
from podfleet.testing import eventually
from podfleet.waiters.diagnosis import is_ready
from tests.cluster.fixtures import Backend

__all__ = ["make_foreign", "versions"]

_LEASES = "coordination.k8s.io/v1"
_FOREIGN = {"pods": "v1", "services": "v1", "configmaps": "v1", "leases": _LEASES}


def make_foreign(backend: Backend) -> None:
    """Make objects that are not a fleet's, under names that are like a fleet's."""
    container = {"name": "db", "image": backend.cluster.image}
    specs: dict[str, dict[str, Any]] = {
        "Pod": {"spec": {"containers": [container]}},
        "Service": {"spec": {"ports": [{"port": 5432}], "selector": {"app": "db"}}},
        "ConfigMap": {"data": {"key": "value"}},
        "Lease": {"spec": {"holderIdentity": "db"}},
    }
    for kind, rest in specs.items():
        api_version = _LEASES if kind == "Lease" else "v1"
        for name in ("postgres-0", "cell-00-postgres"):
            metadata = {"name": name, "namespace": backend.namespace}
            made = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}
            backend.cluster.create(made)
    eventually(lambda: all(map(is_ready, _foreign(backend, "pods"))))


def _foreign(backend: Backend, plural: str) -> list[Manifest]:
    found = backend.objects(_FOREIGN[plural], plural)
    return [one for one in found if name_of(one).endswith(("postgres-0", "-postgres"))]


def versions(backend: Backend) -> dict[tuple[str, str], str]:
    return {
        (plural, name_of(one)): one["metadata"]["resourceVersion"]
        for plural in _FOREIGN
        for one in _foreign(backend, plural)
    }
