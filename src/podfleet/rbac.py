"""The rights that a fleet needs, as manifests: least privilege, printed and tested. Pure."""

from __future__ import annotations

from typing import Any

from podfleet.errors import ConfigurationError
from podfleet.exposure import ExposureStrategy
from podfleet.model.names import check_dns_label
from podfleet.model.rules import Rule

__all__ = ["FLEET_RULES", "manifests"]

FLEET_RULES = (
    Rule("", ("pods",), ("get", "list", "watch", "create", "patch", "delete")),
    # For the diagnosis of a server that failed; without them it is shorter.
    Rule("", ("pods/log",), ("get",)),
    Rule("", ("events",), ("list",)),
)
"""What every fleet needs in its namespace, whatever its strategy."""

_API = "rbac.authorization.k8s.io"


def manifests(
    fleet: str, exposure: ExposureStrategy, namespace: str, service_account: str
) -> tuple[dict[str, Any], ...]:
    """Return a Role and its binding, and the same for the whole cluster where it must be.

    Args:
        fleet: The fleet's name.
        exposure: Its strategy, whose rules are added.
        namespace: The fleet's namespace.
        service_account: The backend's account, as ``namespace/name``.

    Raises:
        ConfigurationError: ``service_account`` is not of that form.
    """
    account_namespace, slash, account = service_account.partition("/")
    if not slash:
        raise ConfigurationError("service_account", service_account, "must be 'namespace/name'")
    check_dns_label("service_account", account_namespace)
    rules = (*FLEET_RULES, *exposure.rules())
    local = [rule.to_manifest() for rule in rules if not rule.cluster]
    wide = [rule.to_manifest() for rule in rules if rule.cluster]
    subject = {"kind": "ServiceAccount", "namespace": account_namespace, "name": account}
    name = f"podfleet-{fleet}"
    found = _pair("Role", {"name": name, "namespace": namespace}, local, subject)
    if wide:
        # Cluster-scoped names must tell apart fleets of one name in two namespaces.
        found += _pair("ClusterRole", {"name": f"{name}-{namespace}"}, wide, subject)
    return tuple(found)


def _pair(
    kind: str, metadata: dict[str, str], rules: list[dict[str, Any]], subject: dict[str, str]
) -> list[dict[str, Any]]:
    return [
        {"apiVersion": f"{_API}/v1", "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{_API}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _API, "kind": kind, "name": metadata["name"]},
            "subjects": [subject],
        },
    ]
