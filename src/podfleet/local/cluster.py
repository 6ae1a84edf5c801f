"""`LocalCluster`: a Kubernetes cluster in this process, for development and tests."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from podfleet.errors import ConfigurationError, NotFound, PodfleetError
from podfleet.kube import Cluster
from podfleet.local.api.audit import AuditEvent
from podfleet.local.engine import Engine
from podfleet.local.node.programs import Image, Images
from podfleet.local.objects.kinds import POD
from podfleet.local.shape import Node
from podfleet.model.plain import check_flag, each
from podfleet.model.port import check_port_number

__all__ = ["LocalCluster"]

_T = TypeVar("_T")
_STOP_SECONDS = 30.0


class LocalCluster:
    """A Kubernetes cluster without Kubernetes: its API on a loopback port, its Pods processes.

    It needs no root, no containers and no network, starts within a fraction of a second, and
    leaves nothing behind, however its process ends. It is a stand-in for development and tests:
    what podfleet does not use of Kubernetes is not in it, and says so (HTTP 501).

    A server listens on the address in its variable ``POD_IP``, as every Pod has one of its own
    (Linux) or on the port in ``PODFLEET_PORT_<number>`` where there is one address for all.

    Args:
        images: What each image runs: a command, or an ``async def`` that takes a
            `ServerContext`. More can be added to ``cluster.images`` at any time.
        nodes: Its Nodes; by default one, ``local``.
        istio: Whether it serves Istio's Gateway and VirtualService.
        node_ports: The first and the last NodePort.

    Raises:
        ConfigurationError: Nodes that cannot be.

    Example:
        >>> import sys
        >>> with LocalCluster({"arena:1": [sys.executable, "-c", "input()"]}) as cluster:
        ...     cluster.nodes
        ('local',)
    """

    def __init__(
        self,
        images: Mapping[str, Image] | None = None,
        *,
        nodes: Sequence[Node] = (Node(),),
        istio: bool = True,
        node_ports: tuple[int, int] = (30000, 32767),
    ) -> None:
        shapes = each("LocalCluster.nodes", nodes, "[Node(name='node-a')]")
        for node in shapes:
            if not isinstance(node, Node):
                raise ConfigurationError("LocalCluster.nodes", node, "must be a Node")
        names = [node.name for node in shapes]
        if not names or len(names) != len(set(names)):
            raise ConfigurationError(
                "LocalCluster.nodes", names, "must be Nodes, each with a name of its own"
            )
        self._nodes = shapes
        self.images = Images()
        if images is not None and not isinstance(images, Mapping):
            raise ConfigurationError(
                "LocalCluster.images",
                images,
                "must be a dict: {'arena:1': ['python', 'server.py']}",
            )
        for name, image in (images or {}).items():
            self.images[name] = image
        self._istio = check_flag("LocalCluster.istio", istio)
        numbers = each("LocalCluster.node_ports", node_ports, "(30000, 32767)")
        for number in numbers:
            check_port_number("LocalCluster.node_ports", number)
        if len(numbers) != 2 or numbers[0] > numbers[1]:
            raise ConfigurationError(
                "LocalCluster.node_ports", node_ports, "must be the first and the last NodePort"
            )
        self._node_ports: tuple[int, int] = numbers
        self._engine: Engine | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._engine is not None:
            return
        folder = Path(tempfile.mkdtemp(prefix="podfleet-"))
        engine = Engine(
            self._nodes,
            self.images,
            folder,
            istio=self._istio,
            node_ports=self._node_ports,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="podfleet-local", daemon=True
        )
        self._thread.start()
        self._run(engine.start())
        self._engine = engine

    def stop(self) -> None:
        """End every server, and remove everything, unless it is stopped."""
        if self._engine is None:
            return
        self._run(self._engine.stop())
        self._engine = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)
        self._loop.close()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig: for kubectl, or any client."""
        return self._running.kubeconfig

    @property
    def cluster(self) -> Cluster:
        """What a `Fleet` takes as its cluster."""
        return Cluster(kubeconfig=self.kubeconfig)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of its Nodes."""
        return tuple(node.name for node in self._nodes)

    @property
    def istio(self) -> bool:
        """Whether it serves Istio's Gateway and VirtualService; may be set at any time."""
        return self._istio

    @istio.setter
    def istio(self, served: bool) -> None:
        self._istio = served
        if self._engine is not None:
            self._call(lambda: self._running.serve(istio=served))

    @property
    def gateway(self) -> str:
        """The address of the gateway that does as the VirtualServices say."""
        return self._running.addresses.gateway

    @property
    def dns(self) -> tuple[str, int]:
        """The address and the port of a DNS server that knows the cluster's names.

        Raises:
            ConfigurationError: dnspython is not installed.
        """
        return self._run(self._running.dns())

    def resolve(self, name: str) -> list[str]:
        """Return the addresses of a name of the cluster: ``arena-0.arena.games.svc.cluster.local``.

        Raises:
            NotFound: There is no such name.
        """
        engine = self._running
        found: list[str] = self._call(lambda: engine.names.addresses(name))
        if not found:
            raise NotFound(f"{name}: no such name in the embedded cluster", status=404)
        return found

    def advance(self, seconds: float) -> None:
        """Move the cluster's clock on: what lasts that long is over.

        Args:
            seconds: How far.

        Raises:
            ConfigurationError: Backwards.
        """
        if seconds < 0:
            raise ConfigurationError("LocalCluster.advance", seconds, "a clock only goes forward")
        engine = self._running
        self._call(lambda: engine.clock.advance(seconds))

    @property
    def audit(self) -> tuple[AuditEvent, ...]:
        """The last 20,000 requests, in the order in which they were answered.

        A watch is answered when it ends.
        """
        return self._call(lambda: tuple(self._running.api.audit))  # type: ignore[no-any-return]

    def compact(self) -> None:
        """Forget the past, as etcd does every five minutes: older watches get a 410."""
        self._call(self._running.api.compact)

    def kill(
        self,
        pod: str,
        namespace: str = "default",
        *,
        container: str | None = None,
        out_of_memory: bool = False,
    ) -> None:
        """Have a server die: by SIGKILL, or as one that used too much memory.

        Args:
            pod: The Pod's name.
            namespace: Its namespace.
            container: Which of its containers; by default the game server's.
            out_of_memory: Whether Kubernetes is to call it ``OOMKilled``.

        Raises:
            NotFound: No such server runs.
        """
        engine = self._running

        def kill() -> bool:
            found = engine.registry.store.get(POD, (namespace, pod))
            return found is not None and engine.kill(found, container, out_of_memory=out_of_memory)

        if not self._call(kill):
            raise NotFound(f"Pod {namespace}/{pod}: no such server runs", status=404)

    def lose_node(self, name: str) -> None:
        """Have a Node vanish: its servers are silent at once; Kubernetes notes it after 40 s.

        Move the clock (`advance`) to see what becomes of its Pods.
        """
        self._check_node(name)
        self._run(self._running.lose(name))

    def restore_node(self, name: str) -> None:
        """Have a lost Node come back, as after a restart."""
        self._check_node(name)
        self._run(self._running.restore(name))

    def _check_node(self, name: str) -> None:
        if name not in self.nodes:
            raise ConfigurationError(
                "LocalCluster.nodes", name, f"there is no such Node: {', '.join(self.nodes)}"
            )

    @property
    def _running(self) -> Engine:
        if self._engine is None:
            raise PodfleetError("the embedded cluster is not started: use it in a with block")
        return self._engine

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _call(self, work: Any) -> Any:
        async def call() -> Any:
            return work()

        return self._run(call())
