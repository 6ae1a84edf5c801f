"""A watch: from the changes of a kind to the events of one client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from attrs import frozen

from podfleet.local.objects.kinds import Kind
from podfleet.local.objects.selectors import Match
from podfleet.local.objects.statuses import Refusal
from podfleet.local.objects.store import Change, Record, Store

__all__ = ["Watch"]

_BOOKMARKS = 60.0  # seconds; a real server sends one about every minute
_INITIAL = {"annotations": {"k8s.io/initial-events-end": "true"}}


@frozen
class Watch:
    """One client's watch.

    Args:
        store: What is watched.
        kind: The kind.
        namespace: Of one namespace only; ``None`` for all.
        match: What the client selects.
        since: The version after which it begins; 0 for now, with all that there is.
        bookmarks: Whether to tell the version where nothing else is told.
        initial: Whether to end what there is with a bookmark that says so.
        seconds: For how long.
        encode: How this client is shown an object.
    """

    store: Store
    kind: Kind
    namespace: str | None
    match: Match
    since: int
    bookmarks: bool
    initial: bool
    seconds: float
    encode: Callable[[Record], bytes]

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the events, a line each."""
        with self.store.follow(self.kind) as changes:
            # Those that come while the past is told wait in the queue: they are not of it.
            reached = self.store.version
            try:
                past = self._past()
            except Refusal as refusal:
                yield _line("ERROR", json.dumps(refusal.status).encode())
                return
            for line in past:
                yield line
            loop = asyncio.get_running_loop()
            end = loop.time() + self.seconds
            while (left := end - loop.time()) > 0:
                change = await _next(changes, min(left, _BOOKMARKS))
                if change is None:
                    # Of none that is yet to be told: its client would never hear of that.
                    if self.bookmarks and changes.empty():
                        yield self._bookmark()
                elif change.version > reached and (event := self._event(change)):
                    yield event

    def _past(self) -> list[bytes]:
        if self.since:
            changes = self.store.since(self.kind, self.since)
            return [line for change in changes if (line := self._event(change))]
        shown = [one for one in self.store.records(self.kind, self.namespace) if self._wants(one)]
        lines = [_line("ADDED", self.encode(record)) for record in shown]
        if self.initial:
            lines.append(self._bookmark(initial=True))
        return lines

    def _event(self, change: Change) -> bytes | None:
        """Return what a change is to this client: what leaves its selection is deleted."""
        before, after = self._wants(change.before), self._wants(change.after)
        if after:
            assert change.after is not None
            return _line("MODIFIED" if before else "ADDED", self.encode(change.after))
        if not before:
            return None
        last = change.last
        if last is None:  # it is there still, but not selected: as it was, at this version
            assert change.before is not None
            manifest = change.before.manifest
            metadata = {**manifest["metadata"], "resourceVersion": str(change.version)}
            last = Record({**manifest, "metadata": metadata})
        return _line("DELETED", self.encode(last))

    def _wants(self, record: Record | None) -> bool:
        if record is None:
            return False
        namespace = record.manifest["metadata"].get("namespace", "")
        return self.namespace in (None, namespace) and self.match(record.manifest)

    def _bookmark(self, *, initial: bool = False) -> bytes:
        metadata = {"resourceVersion": str(self.store.version), **(_INITIAL if initial else {})}
        about = {"kind": self.kind.name, "apiVersion": self.kind.api_version, "metadata": metadata}
        return _line("BOOKMARK", json.dumps(about).encode())


async def _next(changes: asyncio.Queue[Change], seconds: float) -> Change | None:
    """Return the next change; ``None`` if none comes in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await changes.get()
    return None


def _line(event: str, encoded: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (event.encode(), encoded)
