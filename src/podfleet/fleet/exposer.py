"""`Exposer`: gives a strategy what it asks of the cluster, and waits for its endpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from podfleet.errors import (
    AlreadyExists,
    ApiError,
    ConfigurationError,
    NotFound,
    PodfleetError,
    ServerFailed,
)
from podfleet.exposure import ClusterView, Resource
from podfleet.exposure.hosts import why_no_host
from podfleet.fleet.nodes import FRESH, NodeGone, Nodes
from podfleet.fleet.shared import SharedObjects
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import Change, Guard, KubeClient, Store
from podfleet.kube.paths import object_path
from podfleet.kube.retry import Backoff
from podfleet.manifests import labelled
from podfleet.model import Diagnosis, Endpoint, Manifest, Port, Verdict
from podfleet.model.manifest import labels_of, name_of, namespace_of, uid_of
from podfleet.model.names import REVISION

__all__ = ["Exposer"]

_LISTED = 60.0  # seconds for which a server's own objects count where servers are listed
_PAUSE = (0.1, 1.0)  # seconds between two looks at a server's own objects, doubled
_PREDECESSOR = 30.0  # seconds that the garbage collector has to remove a dead Pod's objects


class Exposer:
    """Carries out what a strategy answers.

    Args:
        spec: The fleet's.
        client: Reads Nodes, and what the strategy names.
        store: The fleet's Pods.
        namespace: The fleet's namespace.
        nodes: What the cluster shows of its Nodes.
    """

    def __init__(
        self, spec: FleetSpec, client: KubeClient, store: Store, namespace: str, nodes: Nodes
    ) -> None:
        self._spec = spec
        self._strategy = spec.exposure
        self._client = client
        self._store = store
        self._namespace = namespace
        self._guard = Guard(client, namespace, [spec.name])
        self._shared = SharedObjects(spec, client, self._guard, namespace)
        self._nodes = nodes
        self._revision = spec.revision
        self._objects: dict[str, tuple[float, tuple[Manifest, ...]]] = {}
        self._sound: set[str] = set()  # Pods of which that is known: their ports do not change
        self._lacking: dict[str, str] = {}  # what the endpoint of a server waits for

    async def prepare(self) -> None:
        """Make what all servers of the fleet share, unless it is there."""
        await self._shared.prepare()

    async def attach(self, pod: Manifest) -> None:
        """Make a server's own objects; its Pod owns them, so they go when it goes.

        Done twice is done once: whoever adopts a server makes what its starter did not.

        Raises:
            ApiError: The API server refused one; if the strategy calls that `refused`, other
                numbers may do.
        """
        resources = self._strategy.server_objects(pod, self._spec.template)
        if resources:
            began = time.monotonic()
            made = [await self._make(resource, pod) for resource in resources]
            self._objects[uid_of(pod)] = (began, tuple(made))

    async def until_exposed(self, pod: Manifest, *, fresh: bool = False) -> tuple[Endpoint, ...]:
        """Return the endpoints of a ready server as soon as they are known, one for each port.

        Args:
            pod: The server's Pod.
            fresh: Read its objects again, and make those that are gone.

        Raises:
            ConfigurationError: Waiting will not give one: the address policy names none.
            ServerFailed: It has none for one of its ports, and will not get one.
        """
        pause = _PAUSE[0]
        max_age = 0.0 if fresh else FRESH
        while True:
            if not await self._objects_of(pod, max_age):
                await self.attach(pod)  # its starter was killed before it could
            endpoints = await self.endpoints(pod)
            if endpoints is not None:
                self._lacking.pop(name_of(pod), None)
                return endpoints
            await asyncio.sleep(pause)
            pause = min(_PAUSE[1], pause * 2)
            max_age = 0.0
            pod = self._store.get(name_of(pod)) or pod

    async def endpoints(
        self, pod: Manifest, *, max_age: float = FRESH
    ) -> tuple[Endpoint, ...] | None:
        """Return what the strategy reads from the cluster now; ``None``: not yet.

        Args:
            pod: The server's Pod.
            max_age: Seconds for which what was read of its own objects counts.

        Raises:
            ConfigurationError: Waiting will not give one.
            ServerFailed: It has none for one of its ports, and will not get one.
        """
        node = pod["spec"].get("nodeName")
        try:
            view = ClusterView(
                node=await self._nodes.read(node) if node and self._strategy.reads_nodes else None,
                objects=await self._objects_of(pod, max_age),
                shared=await self._shared.show(max_age),
            )
        except NodeGone as error:
            self._lacking[name_of(pod)] = str(error)
            return None
        try:
            named = self._strategy.endpoints(pod, self._spec.template, view)
        except PodfleetError:
            raise
        except Exception as error:  # a strategy of the user's own
            raise self._wrong(f"endpoints() raised {type(error).__name__}: {error}") from error
        if named is None:
            self._lacking[name_of(pod)] = f"{type(self._strategy).__name__} has not named it yet"
            return None
        return self._checked(pod, named)

    async def shown(self, pod: Manifest, *, fresh: bool = False) -> tuple[Endpoint, ...]:
        """Return the endpoints that are known, as `endpoints` does; none if there are none.

        Listing servers must not fail for one without an address, nor ask for each of hundreds.
        """
        try:
            return await self.endpoints(pod, max_age=0.0 if fresh else _LISTED) or ()
        except (ConfigurationError, ServerFailed):
            return ()

    def lacking(self, pod_name: str) -> str:
        """Return what a server's endpoint waits for."""
        return self._lacking.get(pod_name, "what it follows from was being read")

    def flaw(self, pod: Manifest) -> Diagnosis | None:
        """Return why a server can never be reached, as its Pod alone shows; ``None`` if it can."""
        uid = uid_of(pod)
        if uid in self._sound or labels_of(pod).get(REVISION) != self._revision:
            return None
        for port in self._spec.template.ports:
            if (lack := self._strategy.lacks(pod, port)) is not None:
                return _no_endpoint(lack)
        self._sound.add(uid)
        return None

    def require(self, pod: Manifest) -> None:
        """Refuse a Pod that can never be reached.

        Raises:
            ServerFailed: It cannot.
        """
        if (flaw := self.flaw(pod)) is not None:
            raise _failed(pod, flaw)

    def _checked(self, pod: Manifest, named: object) -> tuple[Endpoint, ...]:
        """Return what a strategy named, if clients can dial each port of the server."""
        if not isinstance(named, Sequence) or not all(isinstance(one, Endpoint) for one in named):
            raise self._wrong(
                f"endpoints() returned {named!r}: must be a tuple of Endpoint or None"
            )
        for endpoint in named:
            if (wrong := why_no_host(endpoint.host)) is not None:
                raise self._wrong(f"gives the host {endpoint.host!r} for {name_of(pod)}: {wrong}")
        found = {endpoint.name for endpoint in named}
        for port in self._wanted(pod):
            if port.name not in found:
                lack = self._strategy.lacks(pod, port)
                name = type(self._strategy).__name__
                raise _failed(
                    pod, _no_endpoint(lack or f"{name} names none for port {port.name!r}")
                )
        return tuple(named)

    def _wanted(self, pod: Manifest) -> Sequence[Port]:
        """Return the ports that a server must have: of another template's, those it declares."""
        ports = self._spec.template.ports
        if labels_of(pod).get(REVISION) == self._revision:
            return ports
        declared = {
            (shown.get("containerPort"), shown.get("protocol", "TCP"))
            for container in pod["spec"].get("containers") or []
            for shown in container.get("ports") or []
        }
        return [
            port for port in ports if (port.number, port.protocol.transports[0]) in declared
        ] or ports

    def _wrong(self, what: str) -> ConfigurationError:
        return ConfigurationError("Fleet.exposure", self._strategy, what)

    def forget(self, change: Change) -> None:
        """Drop what was known of a server that is gone."""
        uid, after = change.uid_before, change.after
        if uid is not None and (after is None or uid_of(after) != uid):
            self._objects.pop(uid, None)
            self._sound.discard(uid)
            self._lacking.pop(change.name, None)

    async def _objects_of(self, pod: Manifest, max_age: float) -> tuple[Manifest, ...]:
        """Return the server's own objects; none unless all are there, and are its own.

        Others may change or delete them at any time, and they are not watched: so they are asked
        for, unless that was done just now.
        """
        read_at, known = self._objects.get(uid_of(pod), (0.0, ()))
        resources = self._strategy.server_objects(pod, self._spec.template)
        # A claim may make an object wanted that was not before: the route of its session.
        if len(known) == len(resources) and time.monotonic() - read_at <= max_age:
            return known
        began = time.monotonic()
        shown = await asyncio.gather(*(self._existing(resource) for resource in resources))
        found = tuple(one for one in shown if one is not None and _is_owned(one, pod))
        if len(found) < len(resources):
            self._objects.pop(uid_of(pod), None)
            return ()
        if resources:
            self._objects[uid_of(pod)] = (began, found)
        return found

    async def _make(self, resource: Resource, pod: Manifest) -> Manifest:
        manifest = labelled(resource, self._namespace, self._spec.name)
        manifest["metadata"]["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)}
        ]
        backoff = Backoff((_PAUSE[0], 2.0), within=_PREDECESSOR)
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
                if backoff.spent or (found is not None and _owner_uid(found) is None):
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
            await backoff.wait()

    async def _existing(self, resource: Resource) -> Manifest | None:
        try:
            return await self._client.get(self._path(resource, one=True))
        except NotFound:
            return None

    def _path(self, resource: Resource, *, one: bool = False) -> str:
        manifest = resource.manifest
        object_name = manifest["metadata"]["name"] if one else None
        return object_path(manifest["apiVersion"], resource.plural, self._namespace, object_name)


def _no_endpoint(lack: str) -> Diagnosis:
    """Return why a server is not handed out that has no endpoint for one of its ports."""
    return Diagnosis(
        verdict=Verdict.FAILED,
        reason="NoEndpoint",
        summary=f"{lack}: was it removed by something in the cluster, such as a mutating webhook?",
    )


def _failed(pod: Manifest, why: Diagnosis) -> ServerFailed:
    return ServerFailed(f"{namespace_of(pod)}/{name_of(pod)}: {why}", diagnosis=why)


def _owner_uid(manifest: Manifest) -> str | None:
    for owner in manifest["metadata"].get("ownerReferences") or []:
        if owner.get("kind") == "Pod":
            return str(owner.get("uid"))
    return None


def _is_owned(manifest: Manifest, pod: Manifest) -> bool:
    return _owner_uid(manifest) == uid_of(pod)
