"""The kinds of objects that the embedded cluster serves."""

from __future__ import annotations

from attrs import frozen

__all__ = [
    "CONFIG_MAP",
    "ENDPOINT_SLICE",
    "EVENT",
    "GATEWAY",
    "ISTIO",
    "KINDS",
    "NAMESPACE",
    "NODE",
    "POD",
    "QUOTA",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "STATEFUL_SET",
    "VIRTUAL_SERVICE",
    "Kind",
]


@frozen
class Kind:
    """A kind of objects.

    Args:
        group: Its API group; ``""`` is the core's.
        version: The version of it.
        name: ``Pod``.
        plural: ``pods``.
        short: What kubectl takes for it besides.
        namespaced: Whether its objects are in namespaces.
        status: Whether its status is written by itself.
        graceful: Whether its objects are given time to end.
        stored: Whether its objects are kept; a review is answered, and forgotten.
    """

    group: str
    version: str
    name: str
    plural: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    status: bool = False
    graceful: bool = False
    stored: bool = True

    @property
    def api_version(self) -> str:
        """``v1``, ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """How a refusal names it: ``statefulsets.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_name(self) -> str:
        """How a refusal names its kind: ``StatefulSet.apps``."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def made_by_put(self) -> bool:
        """Whether a replace of what is not there makes it (``AllowCreateOnUpdate``)."""
        return self.group == _RBAC or self.plural in ("services", "events", "leases")

    @property
    def needs_version(self) -> bool:
        """Whether a replace must say which version it replaces."""
        return self.group == _ISTIO or self.plural == "leases"

    @property
    def has_generation(self) -> bool:
        """Whether its objects count the changes of their spec (of podfleet's: all but these)."""
        return self.plural in ("pods", "statefulsets") or self.group == _ISTIO


_ISTIO = "networking.istio.io"
_RBAC = "rbac.authorization.k8s.io"
_REVIEW = "authorization.k8s.io"

NAMESPACE = Kind("", "v1", "Namespace", "namespaces", ("ns",), namespaced=False, status=True)
NODE = Kind("", "v1", "Node", "nodes", ("no",), namespaced=False, status=True)
POD = Kind("", "v1", "Pod", "pods", ("po",), status=True, graceful=True)
SERVICE = Kind("", "v1", "Service", "services", ("svc",), status=True)
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", ("sa",))
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", ("cm",))
SECRET = Kind("", "v1", "Secret", "secrets")
EVENT = Kind("", "v1", "Event", "events", ("ev",))
QUOTA = Kind("", "v1", "ResourceQuota", "resourcequotas", ("quota",), status=True)
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets", ("sts",), status=True)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
GATEWAY = Kind(_ISTIO, "v1", "Gateway", "gateways", ("gw",))
VIRTUAL_SERVICE = Kind(_ISTIO, "v1", "VirtualService", "virtualservices", ("vs",))

ISTIO = (GATEWAY, VIRTUAL_SERVICE)
"""Served where the cluster is made with Istio's definitions."""

KINDS = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    SECRET,
    EVENT,
    QUOTA,
    STATEFUL_SET,
    ENDPOINT_SLICE,
    Kind("coordination.k8s.io", "v1", "Lease", "leases"),
    Kind("networking.k8s.io", "v1", "Ingress", "ingresses", ("ing",), status=True),
    # Kept, and without effect: nothing is evicted here.
    Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", ("pdb",)),
    Kind(_RBAC, "v1", "Role", "roles"),
    Kind(_RBAC, "v1", "RoleBinding", "rolebindings"),
    Kind(_RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False),
    Kind(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    Kind(
        _REVIEW,
        "v1",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        namespaced=False,
        stored=False,
    ),
)
"""What every embedded cluster serves."""
