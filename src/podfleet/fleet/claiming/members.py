"""`Members`: the fleets of which one allocation may take a server, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from podfleet.fleet.claiming.claims import Claims
from podfleet.fleet.core import Core
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of
from podfleet.model.names import FLEET

__all__ = ["Members"]


@frozen
class Members:
    """Fleets in the order in which they are asked; mostly it is one.

    Args:
        name: What a message calls them: ``fleet arena``.
        claims: Where a session meets, whichever fleet's server it gets.
        cores: The running fleets.
    """

    name: str
    claims: Claims
    cores: Sequence[Core]

    def of(self, pod: Manifest) -> Core:
        """Return the fleet that a Pod belongs to."""
        fleet = labels_of(pod).get(FLEET)
        for core in self.cores:
            if core.spec.name == fleet:
                return core
        return self.cores[0]
