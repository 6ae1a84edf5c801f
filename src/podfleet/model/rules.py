"""`Rule`: one right that podfleet needs in the cluster."""

from __future__ import annotations

from typing import Any

from attrs import frozen

__all__ = ["Rule"]


@frozen
class Rule:
    """One rule of RBAC.

    Args:
        group: The API group; ``""`` for the core one.
        resources: The resources: ``("pods", "pods/log")``.
        verbs: What may be done: ``("get", "list")``.
        names: Only objects of these names; by default of any.
        namespace: The namespace; by default the fleet's own.
        cluster: Whether the resources belong to no namespace, as Nodes do.
        optional: What is lost without it, in words; by default it is needed.

    Example:
        >>> Rule("", ("services",), ("get",), names=("arena",)).to_manifest()
        {'apiGroups': [''], 'resources': ['services'], 'verbs': ['get'], 'resourceNames': ['arena']}
    """

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    namespace: str | None = None
    cluster: bool = False
    optional: str = ""

    def to_manifest(self) -> dict[str, Any]:
        """Return the rule as a Role or ClusterRole spells it."""
        return {
            "apiGroups": [self.group],
            "resources": list(self.resources),
            "verbs": list(self.verbs),
            **({"resourceNames": list(self.names)} if self.names else {}),
        }
