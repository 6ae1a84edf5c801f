"""`Observed`: whether the leader still renews its Lease, by this replica's own clock. Pure.

As client-go's leader election does: what is compared is when this replica saw the Lease change, on
a clock that only runs forward; never another machine's ``renewTime`` with the time here, since the
clocks of two machines may be a minute or a year apart. So a leader that was killed is followed
within the lease's duration after it was first seen to have stopped, and one that lives keeps the
Lease, whatever its clock says.

The duration is this replica's, not the ``leaseDurationSeconds`` that stands on the Lease: what
somebody else wrote there must not stop the election for good. That field is for people, as are
``acquireTime`` and ``leaseTransitions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from podfleet.model import Manifest
from podfleet.model.manifest import uid_of

__all__ = ["Observed", "holder_of", "lease_spec"]

_MOST_TRANSITIONS = 2**31 - 1  # an int32 in the API


class Observed:
    """When a Lease was last seen to change its holder, or to be renewed."""

    def __init__(self) -> None:
        self._record: tuple[str, Mapping[str, Any]] | None = None
        self._since = float("inf")

    def see(self, lease: Manifest, now: float) -> None:
        """Learn from the Lease as it was read.

        Its annotations do not count: they are written by replicas that do not lead, too.

        Args:
            lease: The Lease.
            now: Seconds on a clock that never goes back.
        """
        record = (uid_of(lease), dict(_spec_of(lease)))
        if record != self._record:
            self._record, self._since = record, now

    def is_over(self, now: float, lasts: float) -> bool:
        """Return whether the holder has not renewed the Lease for so many seconds.

        Args:
            now: Seconds on a clock that never goes back.
            lasts: The lease's duration.

        Example:
            >>> observed = Observed()
            >>> renewed = {"holderIdentity": "a", "renewTime": "1999-01-01T00:00:00.000000Z"}
            >>> observed.see({"metadata": {"uid": "1"}, "spec": renewed}, now=100.0)
            >>> observed.is_over(109.0, lasts=10.0), observed.is_over(110.5, lasts=10.0)
            (False, True)
        """
        return now - self._since > lasts


def holder_of(lease: Manifest) -> str:
    """Return who holds a Lease; empty if nobody does."""
    return str(_spec_of(lease).get("holderIdentity") or "")


def lease_spec(
    before: Manifest | None, holder: str, now: datetime, duration: int
) -> dict[str, Any]:
    """Return what a Lease says when it is taken, renewed or given back.

    Args:
        before: The Lease as it is; ``None`` if there is none.
        holder: Who is to hold it; empty for nobody.
        now: The time: for people, it is compared with nothing.
        duration: Seconds.
    """
    spec = {} if before is None else _spec_of(before)
    written = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    made: dict[str, Any] = {"leaseDurationSeconds": duration, "renewTime": written}
    transitions = spec.get("leaseTransitions") or 0
    if holder:  # an empty one the API server refuses
        is_taken = holder != spec.get("holderIdentity")
        made["holderIdentity"] = holder
        made["acquireTime"] = written if is_taken else spec.get("acquireTime") or written
        if before is not None and is_taken:
            transitions = min(transitions + 1, _MOST_TRANSITIONS)
    return {**made, "leaseTransitions": transitions}


def _spec_of(lease: Manifest) -> Mapping[str, Any]:
    return lease.get("spec") or {}
