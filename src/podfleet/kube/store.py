"""`Store`: the watched objects in memory, packed, kept by a pure reducer.

Newer always wins, whoever brings it: the watch, a list, or the answer to a write of our own,
which is often here before its event.
"""

from __future__ import annotations

import asyncio
import logging
import marshal
import re
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

from attrs import define, frozen

from podfleet.model import Manifest
from podfleet.model.manifest import name_of, uid_of
from podfleet.model.readable import unreadable

__all__ = ["Change", "Store", "version"]

_log = logging.getLogger(__name__)

_VERSION = re.compile(r"[0-9]{1,20}")  # of 64 bits

_REMEMBERED_DELETIONS = 4096
_AT_HAND = 128  # objects: 5 MB
_PACKED = 2048  # objects: 6 MB


def version(manifest: Manifest) -> int:
    """Return the resourceVersion as a number: within a resource it only grows.

    Kubernetes promises that they can be compared since 1.35 (KEP-5504); etcd's revisions,
    which every API server hands out, always could.
    """
    value = str(manifest["metadata"].get("resourceVersion", "0"))
    return int(value) if _VERSION.fullmatch(value) else 0


@define(eq=False)
class _Kept:
    """An object as it is kept: a Pod of 3 KB takes 40 KB as dicts, squeezed about 1 KB."""

    uid: str
    version: int
    keys: tuple[str, ...]
    data: Manifest | bytes
    is_squeezed: bool = False

    def pack(self) -> None:
        """Make bytes of it: read by this very process only, in half the time that JSON takes."""
        self.data = marshal.dumps(cast("dict[str, Any]", self.data))

    def squeeze(self) -> None:
        """Compress the bytes."""
        self.data = zlib.compress(cast("bytes", self.data), level=1)
        self.is_squeezed = True

    def unpack(self) -> Manifest:
        if not isinstance(self.data, bytes):
            return self.data
        packed = zlib.decompress(self.data) if self.is_squeezed else self.data
        shown: Manifest = marshal.loads(packed)  # noqa: S302 (our own)
        return shown


def _plain(shown: Manifest) -> Manifest:
    """Return an object without who wrote which field, and when: nobody here reads that half."""
    if "managedFields" not in shown["metadata"]:
        return shown
    metadata = {key: v for key, v in shown["metadata"].items() if key != "managedFields"}
    return {**shown, "metadata": metadata}


@frozen
class Change:
    """What happened to one object.

    Args:
        name: The object's name.
        after: The object now; ``None`` if it is gone.
        missed: Whether this is only that it was not found: see `Store.miss`.
    """

    name: str
    after: Manifest | None
    _kept: _Kept | None
    missed: bool = False

    @property
    def before(self) -> Manifest | None:
        """The object as it was; ``None`` if there was none. Perhaps unpacked for this."""
        return None if self._kept is None else self._kept.unpack()

    @property
    def uid_before(self) -> str | None:
        """The UID of the object as it was."""
        return None if self._kept is None else self._kept.uid


Listener = Callable[[Change], None]


class Store:
    """Objects of one namespace and kind, by name.

    Those that changed last are at hand; `pack` packs the others, and squeezes those that have not
    changed for long. They are unpacked when asked for.

    Args:
        index_by: What else to find objects by, besides their name.
        may_return: Whether what is gone may come back: a field selects the objects.
        plain: Leaves out of an object what is never read.
        admits: Whether an object is one of those that are kept. What is read by its name may be
            another, or have ceased to be one of them.
        unreadable: Says why an object cannot be read; ``None`` if it can.
        about: The ``extra`` of its log records.
    """

    def __init__(
        self,
        index_by: Callable[[Manifest], Iterable[str]] = lambda _: (),
        *,
        may_return: bool = False,
        admits: Callable[[Manifest], bool] = lambda _: True,
        plain: Callable[[Manifest], Manifest] = lambda shown: shown,
        unreadable: Callable[[Manifest], str | None] = unreadable,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self._unreadable = unreadable
        self._about = dict(about or {})
        self._skipped: OrderedDict[str, str] = OrderedDict()
        self._index_by = index_by
        self._admits = admits
        self._plain = plain
        self._may_return = may_return
        self._index: dict[str, set[str]] = {}
        self._objects: dict[str, _Kept] = {}
        self._at_hand: OrderedDict[str, _Kept] = OrderedDict()
        self._packed: OrderedDict[str, _Kept] = OrderedDict()
        self._deleted: OrderedDict[str, int] = OrderedDict()
        self._listeners: list[Listener] = []
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all objects."""
        return tuple(self._objects)

    def __iter__(self) -> Iterator[Manifest]:
        return (kept.unpack() for kept in list(self._objects.values()))

    def get(self, name: str) -> Manifest | None:
        """Return the object of that name, or ``None``."""
        kept = self._objects.get(name)
        return None if kept is None else kept.unpack()

    def knows(self, name: str, uid: str, at: int) -> bool:
        """Return whether the object of that name and UID is here, at this version or a newer."""
        kept = self._objects.get(name)
        return kept is not None and kept.uid == uid and kept.version >= at

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

    def observe(self, seen: Manifest) -> bool:
        """Take an object that a list, a watch or a write of our own showed.

        Returns:
            Whether it can be read. What cannot is left out, with one warning.
        """
        if self._has_read(seen):
            return True  # a write's answer and its event show the same
        reason = self._unreadable(seen)
        if reason is not None:
            self._skip(seen, reason)
            return False
        self._skipped.pop(uid_of(seen), None)
        before = self._objects.get(name_of(seen))
        if version(seen) <= self._deleted.get(uid_of(seen), -1):
            return True  # a late answer about something that is gone
        if not self._admits(seen):
            if before is not None and before.uid == uid_of(seen) and version(seen) > before.version:
                self.forget(seen)
            return True
        if before is None or version(seen) > before.version:
            self._change(name_of(seen), before, seen)
        return True

    def _has_read(self, seen: Any) -> bool:
        """Return whether this very version of the object is here."""
        try:
            metadata = seen["metadata"]
            kept = self._objects[metadata["name"]]
            same = metadata["uid"] == kept.uid and metadata["resourceVersion"] == str(kept.version)
        except (KeyError, TypeError):
            return False
        return bool(same)

    def _skip(self, seen: Any, reason: str) -> None:
        """Leave out what cannot be read. If it could once, it is nobody's until it can again."""
        metadata = seen.get("metadata") if isinstance(seen, dict) else None
        said = metadata if isinstance(metadata, dict) else {}
        name, uid = str(said.get("name") or "an object without a name"), str(said.get("uid"))
        if self._skipped.get(uid) != reason:
            self._skipped[uid] = reason
            while len(self._skipped) > _REMEMBERED_DELETIONS:
                self._skipped.popitem(last=False)
            about = {**self._about, "server": name} if self._about else None
            _log.warning("%s: skipped, for it cannot be read: %s", name, reason, extra=about)
        kept = self._objects.get(name)
        if kept is not None and kept.uid == uid and version(seen) > kept.version:
            self._hide(name, kept)

    def forget(self, seen: Manifest, at: int = 0) -> None:
        """Take an object's deletion: it is gone, or not selected any more.

        Args:
            seen: The object, as it was seen last.
            at: The version at which it was not there; by default its own. A newer one of the same
                object is selected again.
        """
        if not self._may_return:
            self._deleted[uid_of(seen)] = max(version(seen), at)
        while len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        before = self._objects.get(name_of(seen))
        if before is not None and before.uid == uid_of(seen):
            self._change(name_of(seen), before, None)

    def miss(self, name: str, uid: str) -> None:
        """Take note that an object was not found, though no watch has shown yet how it went.

        Until one does, it is as one that is being deleted: nobody's, and still here.
        """
        kept = self._objects.get(name)
        if kept is None or kept.uid != uid:
            return
        self._hide(name, kept)

    def _hide(self, name: str, kept: _Kept) -> None:
        """Show an object as one that is being deleted."""
        shown = kept.unpack()
        if not shown["metadata"].get("deletionTimestamp"):
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            going = {**shown, "metadata": {**shown["metadata"], "deletionTimestamp": now}}
            self._change(name, kept, going, missed=True)

    def retain(self, names: Collection[str], at: int) -> None:
        """Forget what a whole list did not show.

        Args:
            names: The names of all that it showed.
            at: The list's resourceVersion: what is newer than it stays, though not listed.
        """
        for name, kept in list(self._objects.items()):
            if name not in names and kept.version <= at:
                self.forget(kept.unpack(), at)

    def pack(self) -> None:
        """Pack what has not changed of late. Not done on the way: somebody waits for a change."""
        while len(self._at_hand) > _AT_HAND:
            name, oldest = self._at_hand.popitem(last=False)
            oldest.pack()
            self._packed[name] = oldest
        while len(self._packed) > _PACKED:
            _, oldest = self._packed.popitem(last=False)
            oldest.squeeze()

    def _change(
        self, name: str, kept: _Kept | None, after: Manifest | None, *, missed: bool = False
    ) -> None:
        keys = () if after is None else tuple(self._index_by(after))
        self._at_hand.pop(name, None)
        self._packed.pop(name, None)
        if after is None:
            del self._objects[name]
        else:
            kept_now = _Kept(uid_of(after), version(after), keys, _plain(self._plain(after)))
            self._objects[name] = self._at_hand[name] = kept_now
        self._reindex(name, () if kept is None else kept.keys, keys)
        change = Change(name, after, kept, missed)
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:  # the others must not miss it, nor the store what comes next
                _log.exception("%s: a change could not be followed", name, extra=self._about)
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
