"""`PortLedger`: keeps the strategy's `PortPool` in step with what the cluster shows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from podfleet.fleet.spec import FleetSpec
from podfleet.kube import Change, Store
from podfleet.model.names import is_server_name

__all__ = ["PortLedger"]


class PortLedger:
    """Takes numbers before a Pod is created, and learns from the watch who holds which.

    A Pod holds its numbers until it is really gone: while it is Terminating its process may
    still listen. A holder is ``namespace/pod``, so that fleets may share a pool.

    Args:
        spec: The fleet's; its strategy's pool is kept.
        namespace: The fleet's namespace.
    """

    def __init__(self, spec: FleetSpec, namespace: str) -> None:
        self._fleet = spec.name
        self._strategy = spec.exposure
        self._needed = spec.exposure.ports_needed(spec.template)
        self._namespace = namespace
        self._pool = spec.exposure.pool
        self._refused: set[str] = set()
        self._freed: set[asyncio.Event] = set()
        self.line = asyncio.Lock()
        """Held while waiting for numbers: who waits longest has the next."""

    def take(self, pod_name: str) -> tuple[int, ...]:
        """Return numbers for a new Pod.

        Raises:
            PortPoolExhausted: The pool has not as many.
        """
        if self._pool is None or self._needed == 0:
            return ()
        return self._pool.acquire(
            self._needed,
            contiguous=False,
            holder=self._holder(pod_name),
            shared=self._strategy.shares_ports,
        )

    def give_back(self, pod_name: str, numbers: tuple[int, ...]) -> None:
        """Return numbers of a Pod that does not exist."""
        if self._pool is not None and numbers:
            self._pool.release(numbers, self._holder(pod_name))

    def refuse(self, pod_name: str, numbers: tuple[int, ...]) -> None:
        """Take note that the cluster refused the numbers: somebody unknown uses them."""
        if self._pool is not None and numbers:
            self._refused.add(pod_name)
            self._pool.release(numbers, self._holder(pod_name), refused=True)

    @contextmanager
    def watch_freed(self) -> Iterator[asyncio.Event]:
        """Give an event that is set when a Pod of the fleet is gone, and its numbers free."""
        freed = asyncio.Event()
        self._freed.add(freed)
        try:
            yield freed
        finally:
            self._freed.discard(freed)

    def reconcile(self, store: Store) -> None:
        """Drop holders of this fleet that the cluster does not show: they went unwatched."""
        if self._pool is None:
            return
        holders = {holder for held in self._pool.in_use.values() for holder in held}
        for holder in holders:
            namespace, _, pod_name = holder.partition("/")
            if (
                namespace == self._namespace
                and is_server_name(self._fleet, pod_name)
                and store.get(pod_name) is None
            ):
                self._pool.hold((), holder)

    def follow(self, change: Change) -> None:
        """Learn from a change in the store."""
        if self._pool is None:
            return
        pod_name, after = change.name, change.after
        if after is None:
            before = change.before
            assert before is not None
            self._pool.hold((), self._holder(pod_name))
            had_them = pod_name not in self._refused
            self._refused.discard(pod_name)
            # A shared number of a Pod that had no node kept nobody off any.
            if had_them and (before["spec"].get("nodeName") or not self._strategy.shares_ports):
                for freed in self._freed:
                    freed.set()
        elif pod_name not in self._refused:
            held = self._strategy.held_ports(after)
            self._pool.hold(held, self._holder(pod_name), after["spec"].get("nodeName"))

    def _holder(self, pod_name: str) -> str:
        return f"{self._namespace}/{pod_name}"
