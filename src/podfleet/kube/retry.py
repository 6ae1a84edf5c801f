"""The one retry policy: what is tried again, how long after, and how often."""

from __future__ import annotations

import random

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from podfleet.errors import ApiError, ServerError, Throttled, TransportError

__all__ = ["AMBIGUOUS", "RETRYABLE", "pause", "retrying"]

AMBIGUOUS = (ServerError, TransportError)
"""After these it is not known whether the API server carried the request out."""

RETRYABLE = (*AMBIGUOUS, Throttled)
"""What may go well the next time."""

_ATTEMPTS = 6
_LONGEST_WAIT = 10.0  # seconds

# 0 to 0.1 s, 0 to 0.2 s, ...: full jitter, so that replicas do not come back in step.
_backoff = wait_random_exponential(multiplier=0.1, max=5)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ApiError) else None
    if asked is None:
        return _backoff(state)
    # No sooner than asked, and not all callers at once.
    return min(asked, _LONGEST_WAIT) + _backoff(state)


def pause(failures: int, between: tuple[float, float]) -> float:
    """Return seconds to wait after so many failures in a row: doubled each time, with jitter.

    Args:
        failures: How many, 1 at least.
        between: The first pause and the longest, in seconds.
    """
    first, longest = between
    return random.uniform(0.5, 1.0) * min(longest, first * 2.0 ** (failures - 1))


def retrying(*also: type[Exception]) -> AsyncRetrying:
    """Return a fresh retry loop: six tries, about 3 seconds of waiting in the mean.

    Args:
        also: What else may go well the next time.
    """
    return AsyncRetrying(
        retry=retry_if_exception_type((*RETRYABLE, *also)),
        wait=_wait,
        stop=stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )
