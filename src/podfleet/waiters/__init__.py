"""Wait for a Pod: ready, gone, reachable; and say in words why one is not ready."""

from podfleet.waiters.waiters import async_wait_gone, async_wait_reachable, async_wait_ready
from podfleet.waiters.watching import DEFAULT_GRACE

__all__ = ["DEFAULT_GRACE", "async_wait_gone", "async_wait_reachable", "async_wait_ready"]
