"""What an administrator applies once for a fleet: least privilege, printed and tested. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podfleet.errors import ConfigurationError
from podfleet.exposure import Resource
from podfleet.model import Manifest, names
from podfleet.model.names import check_dns_label
from podfleet.model.rules import Rule
from podfleet.model.server import ClaimState

__all__ = ["administration", "fleet_rules", "namespaced", "reading_rules"]


_API = "rbac.authorization.k8s.io"
_MORE_THAN_ANY = 2**31 - 1  # servers: the API's integers have 32 bits


def fleet_rules(stateful_set: str | None) -> tuple[Rule, ...]:
    """Return what a fleet needs in its namespace, whatever its strategy.

    Args:
        stateful_set: The StatefulSet whose Pods its servers are; ``None`` if it makes them.
    """
    # For the diagnosis of a server that failed; without them it is shorter.
    diagnosis = (Rule("", ("pods/log",), ("get",)), Rule("", ("events",), ("list",)))
    # One for each session: where those meet who ask for it at the same instant. And one for the
    # fleet, which is patched: its holder tends it. They are listed by `reconcile` alone.
    verbs = ("get", "list", "create", "delete", *(() if stateful_set else ("patch",)))
    sessions = Rule("coordination.k8s.io", ("leases",), verbs)
    if stateful_set is None:
        pods = Rule("", ("pods",), ("get", "list", "watch", "create", "patch", "delete"))
        return (pods, sessions, *diagnosis)
    return (
        Rule("", ("pods",), ("get", "list", "watch", "patch", "delete")),
        sessions,
        Rule("apps", ("statefulsets",), ("create",)),
        Rule("apps", ("statefulsets",), ("get", "patch"), names=(stateful_set,)),
        *diagnosis,
    )


def reading_rules(resources: Iterable[Resource]) -> tuple[Rule, ...]:
    """Return the rights to read these very objects."""
    return tuple(
        Rule(
            resource.manifest["apiVersion"].rpartition("/")[0],
            (resource.plural,),
            ("get",),
            names=(resource.manifest["metadata"]["name"],),
            namespace=resource.manifest["metadata"].get("namespace"),
        )
        for resource in resources
    )


def namespaced(resource: Resource, namespace: str) -> dict[str, Any]:
    """Return the object's manifest, in this namespace unless it names another."""
    manifest = dict(resource.manifest)
    manifest["metadata"] = {"namespace": namespace, **manifest["metadata"]}
    return manifest


def administration(
    fleet: str,
    namespace: str,
    service_account: str,
    rules: Iterable[Rule],
    shared: Iterable[Resource],
) -> tuple[Manifest, ...]:
    """Return the account, its Roles and bindings, the budget, and the objects of all servers.

    Args:
        fleet: The fleet's name.
        namespace: The fleet's namespace.
        service_account: The backend's account, as ``namespace/name``.
        rules: The rights that it needs.
        shared: The objects; those that somebody else makes are left out.

    Raises:
        ConfigurationError: ``service_account`` is not of that form.
    """
    account_namespace, slash, account = service_account.partition("/")
    if not slash:
        raise ConfigurationError("service_account", service_account, "must be 'namespace/name'")
    check_dns_label("service_account", account_namespace)
    subject = {"kind": "ServiceAccount", "namespace": account_namespace, "name": account}
    metadata = {"namespace": account_namespace, "name": account}
    found: list[Manifest] = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}]
    name = f"podfleet-{fleet}"
    by_place: dict[str | None, list[dict[str, Any]]] = {}
    for rule in rules:
        place = None if rule.cluster else rule.namespace or namespace
        by_place.setdefault(place, []).append(rule.to_manifest())
    for place, granted in by_place.items():
        # Names outside the fleet's namespace must tell apart fleets of one name in two.
        own = name if place == namespace else f"{name}-{namespace}"
        where = {"name": own} if place is None else {"name": own, "namespace": place}
        found += _pair("ClusterRole" if place is None else "Role", where, granted, subject)
    found.append(_budget(fleet, namespace))
    return (*found, *(namespaced(one, namespace) for one in shared if not one.exists))


def _budget(fleet: str, namespace: str) -> Manifest:
    """Return what keeps ``kubectl drain`` and the like from evicting servers that are allocated.

    Of Pods that no controller owns a budget takes a number only, and only as the least that stays:
    https://kubernetes.io/docs/tasks/run-application/configure-pdb/#arbitrary-controllers-and-selectors
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": f"podfleet-{fleet}", "namespace": namespace},
        "spec": {
            "minAvailable": _MORE_THAN_ANY,
            "selector": {
                "matchLabels": {names.FLEET: fleet, names.STATE: ClaimState.ALLOCATED.value}
            },
        },
    }


def _pair(
    kind: str, metadata: dict[str, str], rules: list[dict[str, Any]], subject: dict[str, str]
) -> list[Manifest]:
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
