"""`Store`: the watched objects in memory, packed, kept by a pure reducer.

Newer always wins, whoever brings it: the watch, a list, or the answer to a write of our own,
which is often here before its event.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from attrs import frozen

from podfleet.model import Manifest
from podfleet.model.manifest import name_of, uid_of

__all__ = ["Change", "Store", "version"]

_REMEMBERED_DELETIONS = 4096


def version(manifest: Manifest) -> int:
    """Return the resourceVersion as a number: within a resource it only grows.

    Kubernetes promises that they can be compared since 1.35 (KEP-5504); etcd's revisions,
    which every API server hands out, always could.
    """
    value = str(manifest["metadata"].get("resourceVersion", "0"))
    return int(value) if value.isdigit() else 0


@frozen
class _Packed:
    """An object as it is kept: a Pod of 5 KB takes 40 KB as dicts, packed about 1 KB."""

    uid: str
    version: int
    keys: tuple[str, ...]
    data: bytes

    @classmethod
    def of(cls, shown: Manifest, keys: tuple[str, ...]) -> _Packed:
        # Who wrote which field, and when: half of an object, and nobody here reads it.
        metadata = {key: v for key, v in shown["metadata"].items() if key != "managedFields"}
        text = json.dumps({**shown, "metadata": metadata}, separators=(",", ":"))
        return cls(uid_of(shown), version(shown), keys, zlib.compress(text.encode()))

    def unpack(self) -> Manifest:
        shown: Manifest = json.loads(zlib.decompress(self.data))
        return shown


@frozen
class Change:
    """What happened to one object.

    Args:
        name: The object's name.
        after: The object now; ``None`` if it is gone.
    """

    name: str
    after: Manifest | None
    _packed: _Packed | None

    @property
    def before(self) -> Manifest | None:
        """The object as it was; ``None`` if there was none. Unpacked each time."""
        return None if self._packed is None else self._packed.unpack()

    @property
    def uid_before(self) -> str | None:
        """The UID of the object as it was."""
        return None if self._packed is None else self._packed.uid


Listener = Callable[[Change], None]


class Store:
    """Objects of one namespace and kind, by name; each is unpacked when it is asked for.

    Args:
        index_by: What else to find objects by, besides their name.
    """

    def __init__(self, index_by: Callable[[Manifest], Iterable[str]] = lambda _: ()) -> None:
        self._index_by = index_by
        self._index: dict[str, set[str]] = {}
        self._objects: dict[str, _Packed] = {}
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._listeners: list[Listener] = []
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Manifest]:
        return (packed.unpack() for packed in list(self._objects.values()))

    def get(self, name: str) -> Manifest | None:
        """Return the object of that name, or ``None``."""
        packed = self._objects.get(name)
        return None if packed is None else packed.unpack()

    def find(self, key: str) -> list[Manifest]:
        """Return the objects under this key of the index."""
        return [self._objects[name].unpack() for name in self._index.get(key, ())]

    def listen(self, listener: Listener) -> None:
        """Call the listener with every change from now on, in order."""
        self._listeners.append(listener)

    @contextmanager
    def subscribe(self, name: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever the object of that name changes."""
        changed = asyncio.Event()
        self._waiting.setdefault(name, set()).add(changed)
        try:
            yield changed
        finally:
            waiting = self._waiting[name]
            waiting.discard(changed)
            if not waiting:
                del self._waiting[name]

    def observe(self, seen: Manifest) -> None:
        """Take an object that a list, a watch or a write of our own showed."""
        before = self._objects.get(name_of(seen))
        if uid_of(seen) in self._deleted:
            return  # a late answer about something that is gone
        if before is None or version(seen) > before.version:
            self._change(name_of(seen), before, seen)

    def forget(self, seen: Manifest) -> None:
        """Take an object's deletion."""
        self._deleted[uid_of(seen)] = None
        while len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        before = self._objects.get(name_of(seen))
        if before is not None and before.uid == uid_of(seen):
            self._change(name_of(seen), before, None)

    def retain(self, names: Collection[str], at: int) -> None:
        """Forget what a whole list did not show.

        Args:
            names: The names of all that it showed.
            at: The list's resourceVersion: what is newer than it stays, though not listed.
        """
        for name, packed in list(self._objects.items()):
            if name not in names and packed.version <= at:
                self.forget(packed.unpack())

    def _change(self, name: str, packed: _Packed | None, after: Manifest | None) -> None:
        keys = () if after is None else tuple(self._index_by(after))
        if after is None:
            del self._objects[name]
        else:
            self._objects[name] = _Packed.of(after, keys)
        self._reindex(name, () if packed is None else packed.keys, keys)
        change = Change(name, after, packed)
        for listener in self._listeners:
            listener(change)
        for changed in self._waiting.get(name, ()):
            changed.set()

    def _reindex(self, name: str, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        if before == after:
            return
        for key in before:
            self._index[key].discard(name)
            if not self._index[key]:
                del self._index[key]
        for key in after:
            self._index.setdefault(key, set()).add(name)
