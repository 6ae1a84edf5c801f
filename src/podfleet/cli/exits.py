"""Which exit code tells which kind of error. Pure."""

from __future__ import annotations

from podfleet.errors import (
    AllocationError,
    ConfigurationError,
    Forbidden,
    NotFound,
    PodfleetError,
    QuotaExceeded,
    ServerError,
    ServerFailed,
    Throttled,
    TransportError,
    Unauthorized,
    WaitTimeout,
)

__all__ = ["FOUND", "exit_code"]

FOUND = 1
"""Of `preflight`: there is something to mend. Of the others: an error of no other kind."""

_CODES: tuple[tuple[int, tuple[type[PodfleetError], ...]], ...] = (
    (2, (ConfigurationError,)),  # what a wrong option ends with, too
    (3, (NotFound,)),
    (4, (AllocationError, QuotaExceeded, WaitTimeout)),
    (5, (ServerFailed,)),
    (6, (Forbidden, Unauthorized)),
    (7, (TransportError, ServerError, Throttled)),
)


def exit_code(error: PodfleetError) -> int:
    """Return the exit code of an error.

    Example:
        >>> exit_code(ConfigurationError("Port.number", 70000, "must be between 1 and 65535"))
        2
    """
    for code, kinds in _CODES:
        if isinstance(error, kinds):
            return code
    return FOUND
