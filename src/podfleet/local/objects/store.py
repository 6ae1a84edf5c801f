"""`Store`: every object, its versions, and what changed since one of them."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

from attrs import define, field

from podfleet.local.objects.kinds import Kind
from podfleet.local.objects.statuses import expired
from podfleet.model import Manifest

__all__ = ["Change", "Key", "Record", "Store"]

_REMEMBERED = 20_000
"""Changes that are kept for watches of the past; a real server's are those of five minutes."""

Key = tuple[str, str]
"""Namespace and name; the namespace is ``""`` where there is none."""


class Record:
    """An object at one version. Its manifest is shared, and never changed.

    Args:
        manifest: The object.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    @cached_property
    def encoded(self) -> bytes:
        """The object as JSON, encoded once for every list and watch that shows it."""
        return json.dumps(self.manifest, separators=(",", ":")).encode()


@define(frozen=True, slots=False)
class Change:
    """One write.

    Args:
        version: Of the store, after it.
        kind: The object's.
        key: The object's.
        before: The object before; ``None`` if it was made.
        after: The object after; ``None`` if it was removed.
        last: Of an object that was removed: as it was, at the version of its removal.
    """

    version: int
    kind: Kind
    key: Key
    before: Record | None
    after: Record | None
    last: Record | None = None


@define
class Store:
    """Objects by kind and key. Every write has a version of its own; they only grow.

    It is used on one event loop: a write is done when its call returns, and has no equal.
    """

    version: int = 1000
    _objects: dict[Kind, dict[Key, Record]] = field(factory=dict)
    _history: dict[Kind, deque[Change]] = field(factory=dict)
    _forgotten: dict[Kind, int] = field(factory=dict)
    _listeners: list[Callable[[Change], None]] = field(factory=list)

    def get(self, kind: Kind, key: Key) -> Manifest | None:
        """Return the object of that key, or ``None``."""
        found = self._objects.get(kind, {}).get(key)
        return found.manifest if found else None

    def records(self, kind: Kind, namespace: str | None = None) -> list[Record]:
        """Return the objects of a kind, of all namespaces or of one, by key."""
        found = self._objects.get(kind, {})
        return [found[key] for key in sorted(found) if namespace is None or key[0] == namespace]

    def all(self, kind: Kind, namespace: str | None = None) -> list[Manifest]:
        """Return the objects of a kind."""
        return [record.manifest for record in self.records(kind, namespace)]

    def kinds(self) -> list[Kind]:
        """Return the kinds that there have been objects of."""
        return list(self._objects)

    def put(self, kind: Kind, key: Key, manifest: Manifest) -> Manifest:
        """Keep an object, under a version of its own.

        Args:
            kind: Its kind.
            key: Its namespace and name.
            manifest: The object; it is the store's from now on.
        """
        record = self._versioned(manifest)
        before = self._objects.setdefault(kind, {}).get(key)
        self._objects[kind][key] = record
        self._note(Change(self.version, kind, key, before, record))
        return record.manifest

    def remove(self, kind: Kind, key: Key) -> Manifest:
        """Forget an object; return it as its watches see it last."""
        before = self._objects[kind].pop(key)
        last = self._versioned(before.manifest)
        self._note(Change(self.version, kind, key, before, None, last))
        return last.manifest

    def since(self, kind: Kind, version: int) -> list[Change]:
        """Return the changes of a kind after a version.

        Raises:
            Refusal: They are not known any more.
        """
        oldest = self._forgotten.get(kind, 0)
        if version < oldest:
            raise expired(f"too old resource version: {version} ({oldest})")
        return [change for change in self._history.get(kind, ()) if change.version > version]

    def compact(self) -> None:
        """Forget all changes of the past, as etcd does every five minutes."""
        self._history.clear()
        self._forgotten = dict.fromkeys(self._objects, self.version)

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Have every change from now on told; return what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @contextmanager
    def follow(self, kind: Kind) -> Iterator[asyncio.Queue[Change]]:
        """Give a queue of the changes of a kind from now on."""
        changes: asyncio.Queue[Change] = asyncio.Queue()
        end = self.listen(lambda one: changes.put_nowait(one) if one.kind == kind else None)
        try:
            yield changes
        finally:
            end()

    def _versioned(self, manifest: Manifest) -> Record:
        self.version += 1
        metadata = {**manifest["metadata"], "resourceVersion": str(self.version)}
        return Record({**manifest, "metadata": metadata})

    def _note(self, change: Change) -> None:
        history = self._history.setdefault(change.kind, deque())
        history.append(change)
        if len(history) > _REMEMBERED:
            self._forgotten[change.kind] = history.popleft().version
        for listener in list(self._listeners):
            listener(change)
