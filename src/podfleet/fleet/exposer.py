"""`Exposer`: gives a strategy what it asks of the cluster, and waits for its endpoints."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from podfleet.errors import AlreadyExists, Forbidden, NotFound
from podfleet.exposure import ClusterView, Resource
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import KubeClient, Store
from podfleet.kube.paths import object_path
from podfleet.model import Endpoint, Manifest
from podfleet.model.manifest import name_of, uid_of

__all__ = ["Exposer"]

_NODE_FRESH = 60.0  # seconds; a node's addresses hardly ever change
_PAUSE = (0.1, 1.0)  # seconds between two looks at a server's own objects, doubled


class Exposer:
    """Carries out what a strategy answers.

    Args:
        spec: The fleet's.
        client: The transport.
        store: The fleet's Pods.
        namespace: The fleet's namespace.
    """

    def __init__(self, spec: FleetSpec, client: KubeClient, store: Store, namespace: str) -> None:
        self._spec = spec
        self._strategy = spec.exposure
        self._client = client
        self._store = store
        self._namespace = namespace
        self._nodes: dict[str, tuple[float, Manifest | None]] = {}
        self._objects: dict[str, tuple[Manifest, ...]] = {}

    async def prepare(self) -> None:
        """Make what all servers of the fleet share, unless it is there."""
        for resource in self._strategy.shared_objects(self._spec.name):
            await self._create(resource, owner=None)

    async def attach(self, pod: Manifest) -> None:
        """Make a server's own objects; its Pod owns them, so they go when it goes."""
        for resource in self._strategy.server_objects(pod, self._spec.template):
            await self._create(resource, owner=pod)

    async def until_exposed(self, pod: Manifest) -> tuple[Endpoint, ...]:
        """Return the endpoints of a ready server as soon as they are known.

        Raises:
            ConfigurationError: Waiting will not give one: the address policy names none.
        """
        pause = _PAUSE[0]
        while True:
            pod = self._store.get(name_of(pod)) or pod
            endpoints = await self.endpoints(pod)
            if endpoints is not None:
                return endpoints
            self._objects.pop(uid_of(pod), None)
            await asyncio.sleep(pause)
            pause = min(_PAUSE[1], pause * 2)

    async def endpoints(self, pod: Manifest) -> tuple[Endpoint, ...] | None:
        """Return what the strategy reads from the cluster now; ``None``: not yet."""
        node = pod["spec"].get("nodeName")
        view = ClusterView(
            node=await self._node(node) if node and self._strategy.reads_nodes else None,
            objects=await self._objects_of(pod),
        )
        return self._strategy.endpoints(pod, self._spec.template, view)

    def forget(self, before: Manifest | None, after: Manifest | None) -> None:
        """Drop what was known of a server that is gone."""
        if after is None and before is not None:
            self._objects.pop(uid_of(before), None)

    async def _node(self, node: str) -> Manifest | None:
        read_at, known = self._nodes.get(node, (float("-inf"), None))
        if time.monotonic() - read_at < _NODE_FRESH:
            return known
        found: Manifest | None
        try:
            found = await self._client.get(object_path("v1", "nodes", name=node))
        except (Forbidden, NotFound):
            found = None  # no rights on Nodes: the Pod's hostIPs are what is known
        self._nodes[node] = (time.monotonic(), found)
        return found

    async def _objects_of(self, pod: Manifest) -> tuple[Manifest, ...]:
        known = self._objects.get(uid_of(pod))
        if known is None:
            found = []
            for resource in self._strategy.server_objects(pod, self._spec.template):
                try:
                    found.append(await self._client.get(self._path(resource, one=True)))
                except NotFound:
                    return ()  # not made yet: nothing is exposed
            known = self._objects[uid_of(pod)] = tuple(found)
        return known

    async def _create(self, resource: Resource, owner: Manifest | None) -> None:
        manifest = {**resource.manifest, "metadata": {**resource.manifest["metadata"]}}
        metadata: dict[str, Any] = manifest["metadata"]
        metadata["namespace"] = self._namespace
        if owner is not None:
            metadata["ownerReferences"] = [
                {"apiVersion": "v1", "kind": "Pod", "name": name_of(owner), "uid": uid_of(owner)}
            ]
        try:
            await self._client.create(self._path(resource), manifest)
        except AlreadyExists:
            if owner is not None:
                raise  # a namesake that is not this Pod's: routing to it would be wrong

    def _path(self, resource: Resource, *, one: bool = False) -> str:
        manifest = resource.manifest
        object_name = manifest["metadata"]["name"] if one else None
        return object_path(manifest["apiVersion"], resource.plural, self._namespace, object_name)
