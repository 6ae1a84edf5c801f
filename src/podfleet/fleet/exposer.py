"""`Exposer`: gives a strategy what it asks of the cluster, and waits for its endpoints."""

from __future__ import annotations

import asyncio
import logging
import time

from podfleet.errors import (
    AlreadyExists,
    ApiError,
    ConfigurationError,
    Forbidden,
    NotFound,
    PodfleetError,
)
from podfleet.exposure import ClusterView, Resource
from podfleet.fleet.shared import SharedObjects
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import Change, Guard, KubeClient, Store
from podfleet.kube.paths import object_path
from podfleet.log import about
from podfleet.manifests import labelled
from podfleet.model import Endpoint, Manifest
from podfleet.model.manifest import name_of, uid_of

__all__ = ["Exposer"]

_log = logging.getLogger(__name__)

_NODE_FRESH = 60.0  # seconds; a node's addresses hardly ever change
_PAUSE = (0.1, 1.0)  # seconds between two looks at a server's own objects, doubled
_PREDECESSOR = 30.0  # seconds that the garbage collector has to remove a dead Pod's objects


class Exposer:
    """Carries out what a strategy answers.

    Args:
        spec: The fleet's.
        client: Reads Nodes, and what the strategy names.
        store: The fleet's Pods.
        namespace: The fleet's namespace.
    """

    def __init__(self, spec: FleetSpec, client: KubeClient, store: Store, namespace: str) -> None:
        self._spec = spec
        self._strategy = spec.exposure
        self._client = client
        self._store = store
        self._namespace = namespace
        self._guard = Guard(client, namespace, [spec.name])
        self._shared = SharedObjects(spec, client, self._guard, namespace)
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._nodes: dict[str, tuple[float, Manifest | None]] = {}
        self._objects: dict[str, tuple[Manifest, ...]] = {}
        self.lacking = f"{type(spec.exposure).__name__} has not named it"
        """What an endpoint waits for."""

    async def prepare(self) -> None:
        """Make what all servers of the fleet share, unless it is there."""
        await self._shared.prepare()

    async def stop(self) -> None:
        """End what goes on in the background."""
        reading = list(self._reading.values())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    async def attach(self, pod: Manifest) -> None:
        """Make a server's own objects; its Pod owns them, so they go when it goes.

        Done twice is done once: whoever adopts a server makes what its starter did not.

        Raises:
            ApiError: The API server refused one; if the strategy calls that `refused`, other
                numbers may do.
        """
        resources = self._strategy.server_objects(pod, self._spec.template)
        if resources:
            made = [await self._make(resource, pod) for resource in resources]
            self._objects[uid_of(pod)] = tuple(made)

    async def until_exposed(self, pod: Manifest, *, fresh: bool = False) -> tuple[Endpoint, ...]:
        """Return the endpoints of a ready server as soon as they are known.

        Args:
            pod: The server's Pod.
            fresh: Read its objects again, and make those that are gone.

        Raises:
            ConfigurationError: Waiting will not give one: the address policy names none.
        """
        pause = _PAUSE[0]
        while True:
            if not await self._objects_of(pod, fresh=fresh):
                await self.attach(pod)  # its starter was killed before it could
            endpoints = await self.endpoints(pod)
            if endpoints is not None:
                return endpoints
            await asyncio.sleep(pause)
            pause = min(_PAUSE[1], pause * 2)
            fresh = True
            await self._shared.show(fresh=True)
            pod = self._store.get(name_of(pod)) or pod

    async def endpoints(self, pod: Manifest, *, fresh: bool = False) -> tuple[Endpoint, ...] | None:
        """Return what the strategy reads from the cluster now; ``None``: not yet.

        Args:
            pod: The server's Pod.
            fresh: Read its objects again: somebody may have changed or deleted them.
        """
        node = pod["spec"].get("nodeName")
        view = ClusterView(
            node=await self._node(node) if node and self._strategy.reads_nodes else None,
            objects=await self._objects_of(pod, fresh=fresh),
            shared=await self._shared.show(),
        )
        return self._strategy.endpoints(pod, self._spec.template, view)

    async def shown(self, pod: Manifest, *, fresh: bool = False) -> tuple[Endpoint, ...]:
        """Return the endpoints that are known, as `endpoints` does; none if there are none.

        Listing servers must not fail for one without an address.
        """
        try:
            return await self.endpoints(pod, fresh=fresh) or ()
        except ConfigurationError:
            return ()

    def forget(self, change: Change) -> None:
        """Drop what was known of a server that is gone."""
        if change.after is None and change.uid_before is not None:
            self._objects.pop(change.uid_before, None)

    async def _node(self, node: str) -> Manifest | None:
        if node not in self._nodes:
            return await self._read_node(node)
        read_at, known = self._nodes[node]
        if time.monotonic() - read_at > _NODE_FRESH and node not in self._reading:
            # Nobody waits for it: an allocation takes what was known a minute ago.
            self._reading[node] = asyncio.create_task(self._renew_node(node))
        return known

    async def _renew_node(self, node: str) -> None:
        try:
            await self._read_node(node)
        except PodfleetError as error:
            _log.debug(
                "node %s: not read again yet: %s",
                node,
                error,
                extra=about(fleet=self._spec.name, namespace=self._namespace),
            )
        finally:
            del self._reading[node]

    async def _read_node(self, node: str) -> Manifest | None:
        found: Manifest | None
        try:
            found = await self._client.get(object_path("v1", "nodes", name=node))
        except (Forbidden, NotFound):
            found = None  # no rights on Nodes: the Pod's hostIPs are what is known
        self._nodes[node] = (time.monotonic(), found)
        return found

    async def _objects_of(self, pod: Manifest, *, fresh: bool) -> tuple[Manifest, ...]:
        """Return the server's own objects; none unless all are there, and are its own."""
        known = self._objects.get(uid_of(pod))
        resources = self._strategy.server_objects(pod, self._spec.template)
        # A claim may make an object wanted that was not before: the route of its session.
        if known is not None and len(known) == len(resources) and not fresh:
            return known
        found = []
        for resource in resources:
            try:
                shown = await self._client.get(self._path(resource, one=True))
            except NotFound:
                shown = None
            if shown is None or not _is_owned(shown, pod):
                self._objects.pop(uid_of(pod), None)
                return ()
            found.append(shown)
        known = self._objects[uid_of(pod)] = tuple(found)
        return known

    async def _make(self, resource: Resource, pod: Manifest) -> Manifest:
        manifest = labelled(resource, self._namespace, self._spec.name)
        manifest["metadata"]["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)}
        ]
        deadline = time.monotonic() + _PREDECESSOR
        while True:
            try:
                return await self._guard.create(self._path(resource), manifest)
            except AlreadyExists as error:
                found = await self._existing(resource)
                if found is not None and _is_owned(found, pod):
                    return found
                if self._strategy.refused(error):
                    raise
                # The object of a Pod that is ending goes when that is gone.
                if found is not None and (_owner_uid(found) is None or time.monotonic() > deadline):
                    raise AlreadyExists(
                        f"{manifest['kind']} {self._namespace}/{name_of(manifest)} exists, and "
                        f"is not Pod {name_of(pod)}'s: remove it, or rename the fleet",
                        status=error.status,
                        reason=error.reason,
                    ) from error
            except ApiError as error:
                if self._strategy.refused(error):
                    raise
                raise self._strategy.failure(error) from error
            await asyncio.sleep(_PAUSE[0])

    async def _existing(self, resource: Resource) -> Manifest | None:
        try:
            return await self._client.get(self._path(resource, one=True))
        except NotFound:
            return None

    def _path(self, resource: Resource, *, one: bool = False) -> str:
        manifest = resource.manifest
        object_name = manifest["metadata"]["name"] if one else None
        return object_path(manifest["apiVersion"], resource.plural, self._namespace, object_name)


def _owner_uid(manifest: Manifest) -> str | None:
    for owner in manifest["metadata"].get("ownerReferences") or []:
        if owner.get("kind") == "Pod":
            return str(owner.get("uid"))
    return None


def _is_owned(manifest: Manifest, pod: Manifest) -> bool:
    return _owner_uid(manifest) == uid_of(pod)
