"""`Engine`: the parts of an embedded cluster, put together on one event loop."""

from __future__ import annotations

import asyncio
import json
import platform
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import aiohttp

from podfleet.local.api.server import ApiServer
from podfleet.local.clock import Clock
from podfleet.local.controllers.controller import Controller
from podfleet.local.controllers.endpoints import Endpoints
from podfleet.local.controllers.events import Events
from podfleet.local.controllers.garbage import Garbage
from podfleet.local.controllers.namespaces import Namespaces
from podfleet.local.controllers.nodes import GRACE, Nodes, condition
from podfleet.local.controllers.scheduler import Scheduler
from podfleet.local.controllers.statefulsets import StatefulSets
from podfleet.local.network.addresses import Addresses
from podfleet.local.network.dns import DnsServer
from podfleet.local.network.gateway import Gateway
from podfleet.local.network.names import Names
from podfleet.local.network.proxy import Proxy
from podfleet.local.node.kubelet import Kubelet
from podfleet.local.node.machine import Machine
from podfleet.local.node.programs import Images, Programs
from podfleet.local.objects.kinds import ISTIO, KINDS, NAMESPACE, NODE
from podfleet.local.objects.registry import Registry
from podfleet.local.objects.rights import Rights
from podfleet.local.objects.services import Allocator
from podfleet.local.objects.statuses import bad_request
from podfleet.local.objects.store import Store
from podfleet.local.shape import Node
from podfleet.model import Manifest

__all__ = ["Engine"]

_NAMESPACES = ("default", "kube-system")


class Engine:
    """Runs a cluster.

    Args:
        nodes: Its Nodes.
        images: What each image runs.
        folder: Its files; removed at the end.
        istio: Whether it serves Istio's kinds.
        node_ports: The first and the last NodePort.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        images: Images,
        folder: Path,
        *,
        istio: bool,
        node_ports: tuple[int, int],
    ) -> None:
        self._nodes = nodes
        self._images = images
        self._folder = folder
        self._istio = istio
        self._node_ports = node_ports
        # Only Linux has all of 127.0.0.0/8 without being told so.
        self.addresses = Addresses.own() if platform.system() == "Linux" else Addresses.shared()
        self.clock = Clock()
        self._lost: set[str] = set()
        self._dns: DnsServer | None = None

    async def start(self) -> None:
        """Start everything."""
        allocator = Allocator(self.addresses.services, *self._node_ports)
        self.registry = Registry(Store(), self.clock, allocator)
        store = self.registry.store
        self.names = Names(store)
        events = Events(self.registry)
        programs = Programs(self._folder)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True)
        )
        self.machine = Machine(
            self.registry,
            events,
            self._images,
            programs,
            self.addresses,
            self._folder,
            self._session,
        )
        self.nodes = Nodes(self.registry)
        self._proxy = Proxy(self.registry, self.addresses, lambda name: name not in self._lost)
        self._gateway = Gateway(self.registry, self.addresses)
        self._controllers: list[Controller] = [
            Namespaces(self.registry),
            Garbage(self.registry),
            Scheduler(self.registry, events),
            StatefulSets(self.registry, events),
            Endpoints(self.registry),
            self.nodes,
            self._proxy,
            self._gateway,
        ]
        self._tasks = [asyncio.create_task(one.run()) for one in self._controllers]
        rights = Rights(store, self.clock)
        self.api = ApiServer(KINDS, self.registry, rights, self._logs)
        self.serve(istio=self._istio)
        self._kubelets = self._seed()
        await programs.start()
        url = await self.api.start(self.addresses.api)
        self._write_kubeconfig(url, rights.admin_token)

    async def stop(self) -> None:
        """End everything, and remove what it left."""
        await self.api.stop()
        if self._dns is not None:
            self._dns.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._proxy.close()
        self._gateway.close()
        for kubelet in self._kubelets.values():
            await kubelet.stop()
        await self.machine.stop()
        await self.machine.programs.stop()
        await self._session.close()
        self.addresses.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)  # closed sockets are closed in the loop's next round

    def serve(self, *, istio: bool) -> None:
        """Serve Istio's kinds, or do so no more."""
        self.api.kinds = (*KINDS, *(ISTIO if istio else ()))

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self._folder / "kubeconfig"

    async def dns(self) -> tuple[str, int]:
        """Return where DNS is served; it is from the first time on."""
        if self._dns is None:
            self._dns = DnsServer(self.names)
            self._dns_at = await self._dns.start(self.addresses.api)
        return self._dns_at

    def kill(self, pod: Manifest, container: str | None, *, out_of_memory: bool) -> bool:
        """Have a container of a Pod die; ``False`` if it does not run."""
        return any(
            kubelet.kill(pod, container, out_of_memory=out_of_memory)
            for kubelet in self._kubelets.values()
        )

    async def lose(self, name: str) -> None:
        """Have a Node vanish, with its servers."""
        self._lost.add(name)
        self._proxy.look_again()
        await self._kubelets[name].stop()
        self.machine.spawn(self._miss(name))

    async def restore(self, name: str) -> None:
        """Have a Node come back."""
        self._lost.discard(name)
        self.nodes.find(name)
        self._kubelets[name].start()
        self._proxy.look_again()

    async def _miss(self, name: str) -> None:
        await self.clock.sleep(GRACE)
        if name in self._lost:
            self.nodes.lose(name)

    def _seed(self) -> dict[str, Kubelet]:
        kubelets = {}
        for name in _NAMESPACES:
            self.registry.create(NAMESPACE, "", {"metadata": {"name": name}})
        for number, node in enumerate(self._nodes):
            address = self.addresses.node(number)
            ready = condition("Ready", "True", "KubeletReady", self.clock.stamp())
            self.registry.create(NODE, "", node.manifest(address, ready))
            kubelets[node.name] = Kubelet(node.name, address, self.machine)
            kubelets[node.name].start()
        return kubelets

    def _logs(self, pod: Manifest, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        for kubelet in self._kubelets.values():
            if kubelet.has(pod):
                return kubelet.log(pod, query)
        name = pod["metadata"]["name"]
        raise bad_request(f"pod {name} does not have a host assigned")

    def _write_kubeconfig(self, url: str, token: str) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "podfleet",
            "clusters": [{"name": "podfleet", "cluster": {"server": url}}],
            "users": [{"name": "podfleet", "user": {"token": token}}],
            "contexts": [
                {
                    "name": "podfleet",
                    "context": {
                        "cluster": "podfleet",
                        "user": "podfleet",
                        "namespace": "default",
                    },
                }
            ],
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(config))
