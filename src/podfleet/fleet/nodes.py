"""`Nodes`: what the cluster shows of its Nodes: which are cordoned, and what addresses they have.

Where the fleet may watch Nodes it does: all of them if the strategy reads them, else the cordoned
ones. An address is handed out as it is now. So a watch counts while it is open and heard; else a
Node is asked for, unless that was done within the last two seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from podfleet.errors import Forbidden, NotFound
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import Change, KubeClient, Reflector, Store
from podfleet.kube.paths import object_path
from podfleet.model import Manifest

__all__ = ["FRESH", "NodeGone", "Nodes"]

FRESH = 2.0  # seconds for which an answer is taken for what the cluster shows now
_NO_RIGHT = 30.0  # seconds until a right that was missing is tried again
_UNREAD = ("images", "volumesAttached", "volumesInUse")  # of the status: most of a Node's bytes


class NodeGone(Exception):
    """There is no Node of that name: no server can be reached on it."""


class Nodes:
    """Reads Nodes, by a watch or one by one.

    Args:
        spec: The fleet's.
        client: The transport.
        about: The ``extra`` of log records.
    """

    def __init__(self, spec: FleetSpec, client: KubeClient, about: Mapping[str, str]) -> None:
        self._client = client
        self._reads = spec.exposure.reads_nodes
        # A StatefulSet's servers are not moved off cordoned nodes.
        self._watches = spec.workload is None or self._reads
        self._cordoned: set[str] = set()
        self._listeners: list[Callable[[str, bool], None]] = []
        self._store = Store(may_return=True, plain=_plain, about=about)
        self._store.listen(self._follow)
        self._asked: dict[str, tuple[float, Manifest | None]] = {}
        self._asking: dict[str, asyncio.Task[Manifest | None]] = {}
        self._forbidden = -_NO_RIGHT
        self._reflector = Reflector(
            client,
            object_path("v1", "nodes"),
            {} if self._reads else {"fieldSelector": "spec.unschedulable=true"},
            self._store,
            about,
            optional=f"fleet {spec.name}: free servers stay on cordoned nodes"
            + (", and each node's addresses are asked for" if self._reads else ""),
        )

    def start(self) -> None:
        """Begin to watch; returns at once."""
        if self._watches:
            self._reflector.start()

    async def stop(self) -> None:
        """End."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._reflector.stop()

    def listen(self, listener: Callable[[str, bool], None]) -> None:
        """Call the listener with each node that is cordoned, or is not any more."""
        self._listeners.append(listener)

    async def read(self, name: str) -> Manifest | None:
        """Return a Node as the cluster shows it now; ``None`` if there is no right to read it.

        Raises:
            NodeGone: There is none.
            PodfleetError: It is not known.
        """
        if self._reads and self._reflector.is_current:
            shown = self._store.get(name)
            if shown is not None:  # one that has just joined may come later
                return shown
        asked_at, found = self._asked.get(name, (-FRESH, None))
        if time.monotonic() - asked_at > FRESH:
            if time.monotonic() - self._forbidden < _NO_RIGHT:
                return None
            found = await self._ask(name)
        return found

    async def _ask(self, name: str) -> Manifest | None:
        """Read it, at once for all who ask."""
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.ensure_future(self._get(name))
            asking.add_done_callback(lambda done: self._answered(name, done))
        return await asyncio.shield(asking)

    async def _get(self, name: str) -> Manifest | None:
        asked_at = time.monotonic()  # what it shows is no older
        try:
            found = await self._client.get(object_path("v1", "nodes", name=name))
        except NotFound as error:
            self._asked.pop(name, None)
            raise NodeGone(f"Node {name} is not there any more") from error
        except Forbidden:
            self._forbidden = time.monotonic()
            return None
        self._asked = {  # those that are too old are of no use
            one: at for one, at in self._asked.items() if asked_at - at[0] < FRESH
        }
        self._asked[name] = (asked_at, found)
        return found

    def _answered(self, name: str, asking: asyncio.Task[Manifest | None]) -> None:
        del self._asking[name]
        if not asking.cancelled():
            asking.exception()  # asyncio is not to complain if nobody waits any more

    def _follow(self, change: Change) -> None:
        spec = {} if change.after is None else change.after.get("spec") or {}
        cordoned = bool(spec.get("unschedulable"))
        if cordoned == (change.name in self._cordoned):
            return
        (self._cordoned.add if cordoned else self._cordoned.discard)(change.name)
        for listener in self._listeners:
            listener(change.name, cordoned)


def _plain(shown: Manifest) -> Manifest:
    """Return a Node without what no address is read from: its images alone are most of it."""
    status = shown.get("status") or {}
    return {**shown, "status": {key: one for key, one in status.items() if key not in _UNREAD}}
