"""The one retry policy: what is tried again, how long after, and how often."""

from __future__ import annotations

import asyncio
import time

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
)

from podfleet.chance import CHANCE
from podfleet.errors import ApiError, ServerError, Throttled, TransportError

__all__ = ["AMBIGUOUS", "RETRYABLE", "Backoff", "pause", "retrying"]

AMBIGUOUS = (ServerError, TransportError)
"""After these it is not known whether the API server carried the request out."""

RETRYABLE = (*AMBIGUOUS, Throttled)
"""What may go well the next time."""

_ATTEMPTS = 6
_LONGEST_WAIT = 10.0  # seconds


def _backoff(attempts: int) -> float:
    # Full jitter, so that replicas do not come back in step. tenacity's own takes its numbers
    # from the program's sequence.
    return CHANCE.uniform(0, min(5.0, 0.1 * 2.0 ** (attempts - 1)))


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ApiError) else None
    if asked is None:
        return _backoff(state.attempt_number)
    # No sooner than asked, and not all callers at once.
    return min(asked, _LONGEST_WAIT) + _backoff(state.attempt_number)


def pause(failures: int, between: tuple[float, float]) -> float:
    """Return seconds to wait after so many failures in a row: doubled each time, with jitter.

    Args:
        failures: How many, 1 at least.
        between: The first pause and the longest, in seconds.
    """
    first, longest = between
    return CHANCE.uniform(0.5, 1.0) * min(longest, first * 2.0 ** min(failures - 1, 60))


class Backoff:
    """Paces a loop that tries again, so that it cannot spin: pauses are doubled, with jitter.

    Args:
        between: The first pause and the longest, in seconds.
        free: After how many tries in vain there is no pause: a race may well be lost once.
        within: Seconds after which `spent` holds; ``None`` for never.
    """

    def __init__(
        self, between: tuple[float, float], *, free: int = 0, within: float | None = None
    ) -> None:
        self._between = between
        self._free = free
        self._end = float("inf") if within is None else time.monotonic() + within
        self.failures = 0
        """How many tries were in vain."""

    @property
    def spent(self) -> bool:
        """Whether the time for trying is over."""
        return time.monotonic() >= self._end

    def count(self) -> float:
        """Count a try that was in vain; return the seconds to pause after it."""
        self.failures += 1
        paused = self.failures - self._free
        return pause(paused, self._between) if paused > 0 else 0.0

    async def wait(self) -> None:
        """Count a try that was in vain, and pause."""
        seconds = self.count()
        if seconds:
            await asyncio.sleep(seconds)


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
