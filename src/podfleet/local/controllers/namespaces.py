"""`Namespaces`: gives each its default account, and empties those that are to go."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from podfleet.local.controllers.controller import Controller
from podfleet.local.objects.kinds import NAMESPACE, SERVICE_ACCOUNT
from podfleet.local.objects.store import Change
from podfleet.model.manifest import name_of

__all__ = ["Namespaces"]


class Namespaces(Controller):
    """Looks at namespaces by name."""

    def keys(self, change: Change) -> Iterable[Hashable]:
        """Return the namespace; and one that is going, when something in it went."""
        if change.kind == NAMESPACE:
            return [change.key[1]]
        return [change.key[0]] if change.after is None and self._is_going(change.key[0]) else []

    def reconcile(self, key: Hashable) -> float | None:
        """Make its account; or remove what is in it, then itself."""
        name = str(key)
        namespace = self._store.get(NAMESPACE, ("", name))
        if namespace is None:
            return None
        if not self._is_going(name):
            if self._store.get(SERVICE_ACCOUNT, (name, "default")) is None:
                account = {"metadata": {"name": "default"}}
                self._registry.create(SERVICE_ACCOUNT, name, account)
            return None
        for kind in self._store.kinds():
            if not kind.namespaced:
                continue
            for shown in self._store.all(kind, name):
                if not shown["metadata"].get("deletionTimestamp"):
                    self._registry.delete(kind, name, name_of(shown))
        if not any(self._store.records(kind, name) for kind in self._store.kinds()):
            self._registry.write(NAMESPACE, "", name, {"spec": {"finalizers": []}})
        return None

    def _is_going(self, name: str) -> bool:
        found = self._store.get(NAMESPACE, ("", name))
        return found is not None and bool(found["metadata"].get("deletionTimestamp"))
