"""`World`: an embedded cluster and a faulty way to it, in a process of their own."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

from attrs import frozen

from podfleet.errors import NotFound
from podfleet.local import LocalCluster, Node
from podfleet.model import Manifest
from podfleet.model.manifest import name_of
from podfleet.testing import Fault, FaultyApi
from podfleet.testing.cluster import TestCluster
from podfleet.testing.gameserver import IMAGE, gameserver
from tests.soak.haste import frequent_bookmarks
from tests.soak.measure import resident
from tests.soak.parent import end_with_parent

__all__ = ["NODES", "Place", "World", "world"]

NODES = ("node-a", "node-b", "node-c")
_UNREACHABLE = 47.0  # seconds until a silent Node is given up, and the template's toleration
_CONTEXT: Any = multiprocessing.get_context("forkserver")


@frozen
class Place:
    """Where the fleet is, as it can be sent to a process.

    Args:
        namespace: The fleet's.
        kubeconfig: The backend's, through the proxy.
        account: The backend's, as ``fleet.manifests`` takes it.
        image: Of the game server.
    """

    namespace: str
    kubeconfig: Path
    account: str
    image: str


class World:
    """The cluster, its administrator, and the proxy."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(frequent_bookmarks())
        nodes = [Node(name=name, external=False) for name in NODES]
        self._local = LocalCluster({IMAGE: gameserver}, nodes=nodes, istio=False)
        self._stack.enter_context(self._local)
        self._cluster = self._stack.enter_context(
            closing(TestCluster(self._local.kubeconfig, IMAGE, local=self._local))
        )
        self._place = self._stack.enter_context(self._cluster.place())
        self._proxy = FaultyApi(self._place.kubeconfig)
        through = self._stack.enter_context(self._proxy.kubeconfig(self._place.kubeconfig))
        end_with_parent(self.close)
        self._here = Place(self._place.namespace, through, self._place.account, self._place.image)

    def place(self) -> Place:
        """Return where the fleet is to be."""
        return self._here

    def apply(self, manifests: tuple[Manifest, ...]) -> None:
        """Apply what ``fleet.manifests`` returned."""
        self._cluster.apply(manifests)

    def objects(self, api_version: str, plural: str) -> list[Manifest]:
        """Return the namespace's objects of a kind."""
        return self._place.objects(api_version, plural)

    def fail(self, faults: list[Fault]) -> None:
        """Have requests fail."""
        for fault in faults:
            self._proxy.fail(fault)

    def mend(self) -> None:
        """Have all go well again; forget what was asked."""
        self._proxy.faults.clear()
        self._proxy.seen.clear()

    def cut(self) -> None:
        """Cut the watches."""
        self._proxy.cut_watches()

    def compact(self) -> None:
        """Forget the past, and cut the watches, so that they ask for it."""
        self._local.compact()
        self._proxy.cut_watches()

    def dark(self, seconds: float, *, forget: bool = False) -> None:
        """Answer nobody; and forget the past, as an API server that starts anew."""
        with self._proxy.blackout():
            if forget:
                self._local.compact()
            time.sleep(seconds)

    def mute(self, seconds: float) -> None:
        """Swallow every byte."""
        with self._proxy.half_open():
            time.sleep(seconds)

    def crash(self, chance: float) -> bool:
        """Kill a server, by SIGKILL; return whether there was one."""
        running = sorted(
            name_of(one)
            for one in self.objects("v1", "pods")
            if one["status"].get("phase") == "Running"
        )
        if not running:
            return False
        try:
            self._local.kill(running[int(chance * len(running))], self._here.namespace)
        except NotFound:
            return False  # it has ended since
        return True

    def lose_node(self, name: str, seconds: float) -> None:
        """Have a Node vanish until its Pods are given up, and some seconds longer."""
        self._local.lose_node(name)
        time.sleep(seconds / 2)
        self._local.advance(_UNREACHABLE)
        time.sleep(seconds / 2)
        self._local.restore_node(name)

    def memory(self) -> float:
        """Return the MB that this process has."""
        return resident()

    def close(self) -> None:
        """End it."""
        self._stack.close()


class _Manager(BaseManager):
    """Serves a `World` to another process."""


_Manager.register("World", World)


@contextmanager
def world() -> Iterator[World]:
    """Give a world, in a process of its own; each of its methods is called there."""
    with _Manager(ctx=_CONTEXT) as manager:
        made: World = manager.World()  # type: ignore[attr-defined]
        try:
            yield made
        finally:
            made.close()
