"""An onlooker: sees every change of every Pod by a watch of its own, and takes note."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field

from podfleet import Cluster
from podfleet.kube import KubeClient
from podfleet.kube.paths import pods
from podfleet.model.manifest import annotations_of, labels_of, uid_of
from podfleet.model.names import PATIENCE, REVISION, SESSION

__all__ = ["Onlooker", "Seen"]

_SILENCE = 600.0  # seconds for which nothing may happen


@define(eq=False)
class Seen:
    """What was seen of a server.

    Args:
        revision: Its template.
        warm: Whether it was made to be kept ready, and not for one caller.
        first: When it was seen first, in seconds on the machine's clock.
        sessions: The sessions that it was ever seen with.
        going: When it was seen going, if it was.
        last_session: Whose it was then; "" if it was free.
    """

    revision: str
    warm: bool
    first: float
    sessions: set[str] = field(factory=set)
    going: float | None = None
    last_session: str = ""


@define(eq=False)
class Onlooker:
    """Watches a namespace.

    Args:
        kubeconfig: The administrator's.
        namespace: Whose Pods.
    """

    kubeconfig: Path
    namespace: str
    seen: dict[str, Seen] = field(factory=dict)
    """By UID: what was seen since the watch began."""

    def has_seen(self, count: int) -> bool:
        """Return whether so many servers have been seen, at least."""
        return len(self.seen) >= count

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for as long as the block lasts."""
        begun, loop = threading.Event(), asyncio.new_event_loop()
        watch = loop.create_task(self._watch(begun))

        def run() -> None:
            loop.run_until_complete(asyncio.wait({watch}))
            begun.set()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert begun.wait(30)
            yield
        finally:
            loop.call_soon_threadsafe(watch.cancel)
            thread.join()
            loop.close()
        assert watch.cancelled(), f"the watch ended by itself: {watch}"

    async def _watch(self, begun: threading.Event) -> None:
        client = KubeClient(Cluster(kubeconfig=self.kubeconfig))
        path = pods(self.namespace)
        try:
            found = await client.get(path)
            query = {"resourceVersion": found["metadata"]["resourceVersion"]}
            begun.set()
            async for line in client.watch(path, query, silence=_SILENCE):
                event = json.loads(line)
                self._see(event["type"], event["object"])
        finally:
            await client.close()

    def _see(self, kind: str, pod: dict[str, Any]) -> None:
        assert kind in ("ADDED", "MODIFIED", "DELETED"), pod
        now, notes = time.monotonic(), annotations_of(pod)
        seen = self.seen.get(uid_of(pod))
        if seen is None:
            seen = self.seen[uid_of(pod)] = Seen(
                labels_of(pod)[REVISION], PATIENCE not in notes, now
            )
        session = notes.get(SESSION, "")
        if session:
            seen.sessions.add(session)
        is_going = kind == "DELETED" or pod["metadata"].get("deletionTimestamp")
        if is_going and seen.going is None:
            seen.going, seen.last_session = now, session
