"""`Views`: what the watches of several fleets have shown, as if it were one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from podfleet.kube import Store
from podfleet.model import Manifest
from podfleet.model.manifest import is_named, labels_of
from podfleet.model.names import FLEET
from podfleet.model.readable import unreadable_pod

__all__ = ["Views"]


@frozen
class Views:
    """The stores of several fleets, each of which keeps its own servers.

    Args:
        stores: By the fleets' names.
    """

    stores: Mapping[str, Store]

    def find(self, key: str) -> Sequence[Manifest]:
        """Return the servers of a session."""
        return [pod for store in self.stores.values() for pod in store.find(key)]

    def get(self, name: str) -> Manifest | None:
        """Return a server's Pod, or ``None``."""
        found = (store.get(name) for store in self.stores.values())
        return next((pod for pod in found if pod is not None), None)

    def observe(self, seen: Manifest) -> bool:
        """Take note of a Pod as it is now; return whether it can be read."""
        if not is_named(seen):
            return False
        store = self.stores.get(labels_of(seen).get(FLEET, ""))
        return unreadable_pod(seen) is None if store is None else store.observe(seen)

    def miss(self, name: str, uid: str) -> None:
        """Take note that a Pod was not found."""
        for store in self.stores.values():
            store.miss(name, uid)
