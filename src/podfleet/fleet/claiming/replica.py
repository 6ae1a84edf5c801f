"""Which replica made a claim: the claim's id begins with its own.

A replica is a process here, also one of several that were forked from one that had a fleet.
"""

from __future__ import annotations

import os
import secrets
from functools import lru_cache

__all__ = ["claim_id", "own_replica", "replica_of"]

_LENGTH = 8  # hex digits, with which a claim's id begins
_OWN = 24  # hex digits, with which it goes on


@lru_cache(maxsize=1)
def _id_of(_process: int) -> str:
    return secrets.token_hex(_LENGTH // 2)


def own_replica() -> str:
    """Return this process's own id."""
    return _id_of(os.getpid())


def claim_id() -> str:
    """Return a new claim's id."""
    return own_replica() + secrets.token_hex(_OWN // 2)


def replica_of(claim: str) -> str:
    """Return which replica made a claim, by the claim's id."""
    return claim[:_LENGTH]
