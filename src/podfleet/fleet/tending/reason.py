"""`Reason`: why a server is removed."""

from __future__ import annotations

from attrs import frozen

from podfleet.fleet.tally import Removal

__all__ = ["Reason"]


@frozen
class Reason:
    """Why a server is removed.

    Args:
        kind: As it is counted.
        text: As it is logged.
    """

    kind: Removal
    text: str

    def __str__(self) -> str:
        return self.text
