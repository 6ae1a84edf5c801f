"""What an administrator applies once for a fleet: least privilege, printed and tested. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from podfleet.errors import ConfigurationError
from podfleet.exposure import Resource
from podfleet.model import Manifest, names
from podfleet.model.manifest import labels_of
from podfleet.model.names import check_fleet_name, check_namespace, check_reference
from podfleet.model.plain import check_text, each
from podfleet.model.port import check_port_number
from podfleet.model.rules import Rule
from podfleet.model.server import ClaimState

__all__ = [
    "administration",
    "fleet_rules",
    "labelled",
    "namespaced",
    "reading_rules",
    "tender_deployment",
]


_API = "rbac.authorization.k8s.io"
_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_NOBODY = 65532  # as distroless images call it; an image that names no user would run as root
_MORE_THAN_ANY = 2**31 - 1  # servers: the API's integers have 32 bits


_NODES = Rule(
    *("", ("nodes",), ("list", "watch")),
    cluster=True,
    optional="free servers stay on nodes that are cordoned",
)


def fleet_rules(stateful_set: str | None) -> tuple[Rule, ...]:
    """Return what a fleet needs in its namespace, whatever its strategy.

    Args:
        stateful_set: The StatefulSet whose Pods its servers are; ``None`` if it makes them.
    """
    # For the diagnosis of a server that failed; without them it is shorter.
    diagnosis = (Rule("", ("pods/log",), ("get",)), Rule("", ("events",), ("list",)))
    # One for each session: where those meet who ask for it at the same instant. And one for the
    # fleet, which is patched: its holder tends it. They are listed by `reconcile` alone.
    verbs = ("get", "list", "create", *(() if stateful_set else ("patch",)), "delete")
    sessions = Rule("coordination.k8s.io", ("leases",), verbs)
    if stateful_set is None:
        pods = Rule("", ("pods",), ("get", "list", "watch", "create", "patch", "delete"))
        return (pods, sessions, *diagnosis, _NODES)
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


def labelled(resource: Resource, namespace: str, fleet: str) -> dict[str, Any]:
    """Return the manifest of an object that a fleet makes: with its label, which says whose it is.

    Args:
        resource: The object, as a strategy describes it.
        namespace: The fleet's namespace.
        fleet: The fleet's name.
    """
    manifest = namespaced(resource, namespace)
    manifest["metadata"]["labels"] = {**labels_of(manifest), names.FLEET: fleet}
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
    account_namespace, account = _account(service_account)
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
    return (*found, *(labelled(one, namespace, fleet) for one in shared if not one.exists))


def tender_deployment(
    name: str,
    references: str | Sequence[str],
    *,
    image: str,
    namespace: str,
    service_account: str,
    port: int = 9102,
) -> Manifest:
    """Return a Deployment of two replicas that tend fleets: the command ``podfleet run``.

    One of them tends a fleet, and the other takes over when it dies.

    Args:
        name: What it is for: a fleet, or a group. The Deployment is ``<name>-tender``.
        references: Where the image's code has the fleets: ``game:fleet``, or several such.
        image: An image with that code, and ``podfleet[cli,metrics]``.
        namespace: The fleets' namespace.
        service_account: The account that has the fleets' rights, as ``namespace/name``: the
            Deployment is in that namespace.
        port: Where it serves ``/metrics`` and ``/healthz``.

    Returns:
        The Deployment. It runs as no root, has no capability and writes no file.

    Raises:
        ConfigurationError: A wrong argument, named with its value.

    Example:
        >>> made = tender_deployment(
        ...     "arena",
        ...     ["game:fleet"],
        ...     image="ghcr.io/acme/backend:1.4",
        ...     namespace="games",
        ...     service_account="games/podfleet-arena",
        ... )
        >>> made["metadata"]["name"], made["spec"]["replicas"]
        ('arena-tender', 2)
    """
    check_fleet_name("tender_deployment.name", name)
    check_namespace("tender_deployment.namespace", namespace)
    fleets = _references(references)
    if not check_text("tender_deployment.image", image).strip():
        raise ConfigurationError("tender_deployment.image", image, "must not be empty")
    check_port_number("tender_deployment.port", port)
    account_namespace, account = _account(service_account)
    labels = {
        "app.kubernetes.io/name": "podfleet",
        "app.kubernetes.io/component": "tender",
        "app.kubernetes.io/instance": name,
    }
    health = {"httpGet": {"path": "/healthz", "port": "metrics"}, "timeoutSeconds": 5}
    where = ("--namespace", namespace, "--metrics-port", str(port))
    container = {
        "name": "tender",
        "image": image,
        "command": ["podfleet", "run", *fleets, *where],
        "ports": [{"name": "metrics", "containerPort": port}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "readinessProbe": {**health, "periodSeconds": 10},
        # Five minutes: an API server that is away is not mended by restarts, but each makes the
        # next come later.
        "livenessProbe": {**health, "periodSeconds": 30, "failureThreshold": 10},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "serviceAccountName": account,
        "automountServiceAccountToken": True,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
            "runAsGroup": _NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(labels)},
            }
        ],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"{name}-tender",
            "namespace": account_namespace,
            "labels": dict(labels),
        },
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": dict(labels)},
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        },
    }


def _references(given: object) -> tuple[str, ...]:
    """Return where fleets are, as ``podfleet run`` takes it; one string is one of them."""
    where = "tender_deployment.references"
    fleets = (given,) if isinstance(given, str) else each(where, given, "['game:fleet']")
    if not fleets:
        raise ConfigurationError(where, given, "must not be empty")
    for fleet in fleets:
        if not isinstance(fleet, str) or not _REFERENCE.fullmatch(fleet):
            raise ConfigurationError(where, fleet, "must be 'module:attribute': 'game:fleet'")
    return fleets


def _account(service_account: object) -> tuple[str, str]:
    """Return an account's namespace and name.

    Raises:
        ConfigurationError: It is not of the form ``namespace/name``.
    """
    return check_reference("service_account", service_account)


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
