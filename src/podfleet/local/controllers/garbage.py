"""`Garbage`: removes objects whose owners are all gone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from podfleet.local.controllers.controller import Controller
from podfleet.local.objects.kinds import Kind
from podfleet.local.objects.registry import Registry
from podfleet.local.objects.statuses import Refusal
from podfleet.local.objects.store import Change, Key
from podfleet.model.manifest import uid_of

__all__ = ["Garbage"]


class Garbage(Controller):
    """Looks at objects that have owners."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._alive: set[str] = set()
        self._owned: dict[str, set[tuple[Kind, Key]]] = {}

    def keys(self, change: Change) -> Iterable[Hashable]:
        """Return an object that has owners, or those that an object owned."""
        if change.after is None:
            assert change.before is not None
            uid = uid_of(change.before.manifest)
            self._alive.discard(uid)
            return self._owned.pop(uid, ())
        shown = change.after.manifest
        self._alive.add(uid_of(shown))
        owners = shown["metadata"].get("ownerReferences") or []
        for owner in owners:
            self._owned.setdefault(owner["uid"], set()).add((change.kind, change.key))
        return [(change.kind, change.key)] if owners and change.before is None else []

    def reconcile(self, key: Hashable) -> float | None:
        """Delete an object none of whose owners is there."""
        assert isinstance(key, tuple)
        kind, (namespace, name) = key
        shown = self._store.get(kind, (namespace, name))
        if shown is None or shown["metadata"].get("deletionTimestamp"):
            return None
        owners = shown["metadata"].get("ownerReferences") or []
        if owners and not any(owner["uid"] in self._alive for owner in owners):
            uid = {"preconditions": {"uid": uid_of(shown)}}
            try:
                self._registry.delete(kind, namespace, name, uid)
            except Refusal:  # it went by itself
                return None
        return None
