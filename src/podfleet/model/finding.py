"""`Finding`: something that would keep a fleet from working, and what mends it."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Finding"]


@frozen
class Finding:
    """One thing that `Fleet.preflight` found wrong.

    Args:
        what: What is wrong, with the object.
        why: Why the fleet needs it.
        remedy: The command, manifest or option that mends it.
        advice: Whether the fleet may work nevertheless.

    Example:
        >>> print(Finding("no Service", "servers have names in it", "apply fleet.manifests()"))
        no Service: servers have names in it. To do: apply fleet.manifests()
    """

    what: str
    why: str
    remedy: str
    advice: bool = False

    def __str__(self) -> str:
        """Return all three in a line."""
        return f"{self.what}: {self.why}. To do: {self.remedy}"
