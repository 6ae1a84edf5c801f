"""The stage of the benchmarks: thousands of ready servers on nodes that kwok plays."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from podfleet import AsyncFleet, Cluster, GameServerTemplate, HeadlessDNS, Port
from podfleet.bench import freed, in_turns
from podfleet.errors import Conflict, NotFound, PodfleetError
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import KubeClient
from podfleet.kube.paths import object_path, pods
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of, name_of
from podfleet.model.names import CLAIM, FLEET, new_server_name
from podfleet.waiters.diagnosis import is_ready
from tests.cluster import cluster as test_cluster
from tests.cluster.crowd import FAKE, PLACED, fake_nodes
from tests.cluster.kubectl import kubectl
from tests.cluster.places import KUBECONFIG

_AT_ONCE = 32  # creates in flight
_PATIENCE = 900.0  # seconds until all are ready
PLAIN = "plain"
"""A label of Pods that belong to no fleet."""


@frozen
class Stage:
    """A namespace with fleets of ready servers.

    Args:
        kubeconfig: The admin's.
        namespace: The namespace.
        nodes: The fake nodes that its Pods are bound to.
    """

    kubeconfig: Path
    namespace: str
    nodes: tuple[str, ...]

    @property
    def template(self) -> GameServerTemplate:
        return GameServerTemplate(image="bench", ports=[Port("game", 7777, "UDP")], **PLACED)

    @property
    def cluster(self) -> Cluster:
        return Cluster(kubeconfig=self.kubeconfig)

    def fleet(self, name: str) -> AsyncFleet:
        return AsyncFleet(
            name,
            template=self.template,
            exposure=HeadlessDNS(),
            namespace=self.namespace,
            cluster=self.cluster,
        )

    async def fill(self, client: KubeClient, fleet: str, count: int) -> None:
        """Create servers of a fleet; see `until_ready`."""
        spec = FleetSpec(name=fleet, template=self.template, exposure=HeadlessDNS())
        await in_turns(
            _AT_ONCE,
            (
                client.create(pods(self.namespace), self._bound(spec, number))
                for number in range(count)
            ),
        )

    async def plain(self, client: KubeClient, count: int) -> None:
        """Create Pods like a fleet's, of no fleet: what a PATCH takes goes by a Pod's size."""
        spec = FleetSpec(name=PLAIN, template=self.template, exposure=HeadlessDNS())
        for number in range(count):
            pod = self._bound(spec, number)
            pod["metadata"]["name"] = f"{PLAIN}-{number}"
            del pod["metadata"]["labels"][FLEET]
            pod["metadata"]["labels"][PLAIN] = "true"
            await client.create(pods(self.namespace), pod)

    async def until_ready(self, client: KubeClient, selector: str, count: int) -> None:
        """Return when so many Pods are ready."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                if sum([is_ready(pod) async for pod in self.shown(client, selector)]) >= count:
                    return
                await asyncio.sleep(2)

    def shown(self, client: KubeClient, selector: str) -> AsyncIterator[Manifest]:
        """Yield the Pods, page by page."""
        return client.objects(pods(self.namespace), {"labelSelector": selector})

    async def reset(self, client: KubeClient, fleet: str) -> None:
        """Have every allocated server of a fleet free again."""
        selector = f"podfleet.dev/fleet={fleet},podfleet.dev/state=allocated"
        taken = [pod async for pod in self.shown(client, selector)]
        await in_turns(_AT_ONCE, (self._free(client, pod) for pod in taken))
        leases = object_path("coordination.k8s.io/v1", "leases", self.namespace)
        found = await client.get(leases, {"labelSelector": f"podfleet.dev/fleet={fleet}"})
        await in_turns(
            _AT_ONCE,
            (client.delete(f"{leases}/{name_of(one)}", uid=None) for one in found["items"]),
        )

    async def free(self, client: KubeClient, name: str) -> None:
        """Have one server free again."""
        await self._free(client, await client.get(pods(self.namespace, name)))

    async def _free(self, client: KubeClient, pod: Manifest) -> None:
        path = pods(self.namespace, name_of(pod))
        await client.patch(path, freed(pod), lambda now: CLAIM not in annotations_of(now))

    def _bound(self, spec: FleetSpec, number: int) -> dict[str, Any]:
        pod = spec.pod(self.namespace, new_server_name(spec.name), ())
        # The scheduler is not what is measured.
        pod["spec"]["nodeName"] = self.nodes[number % len(self.nodes)]
        return pod


@contextmanager
def crowded(nodes: int) -> Iterator[Path]:
    """Have the test cluster run, with nodes that kwok plays; give the admin's kubeconfig."""
    running = test_cluster.Cluster.up(owned=True)

    def admin(*words: str, stdin: str | None = None) -> str:
        return kubectl(running.kubectl_command, KUBECONFIG, *words, stdin=stdin)

    try:
        kwok = running.start_kwok()
        try:
            with fake_nodes(admin, nodes, pods=1000):
                yield KUBECONFIG
        finally:
            kwok.stop()
    finally:
        if running.is_ours:
            running.down()


@asynccontextmanager
async def namespace(client: KubeClient) -> AsyncIterator[str]:
    """Make a namespace for as long as the block lasts, with the account that its Pods get.

    It is gone when this returns: to remove thousands of Pods keeps the API server busy for minutes,
    in which nothing else can be measured.
    """
    name = f"podfleet-bench-{uuid.uuid4().hex[:8]}"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await client.create(object_path("v1", "namespaces"), manifest)
    try:
        await _until(lambda: client.get(object_path("v1", "serviceaccounts", name, "default")))
        yield name
    finally:
        await client.delete(object_path("v1", "namespaces", name=name), uid=None)
        await _gone(client, name)


async def played(client: KubeClient, count: int) -> tuple[str, ...]:
    """Return so many of the nodes that kwok plays."""
    nodes = client.objects(object_path("v1", "nodes"), {"labelSelector": FAKE})
    return tuple([name_of(node) async for node in nodes][:count])


async def _gone(client: KubeClient, name: str) -> None:
    async with asyncio.timeout(_PATIENCE):
        while True:
            try:
                await client.get(object_path("v1", "namespaces", name=name))
            except NotFound:
                return
            await asyncio.sleep(1)


async def _until(look: Callable[[], Awaitable[object]], timeout: float = 30.0) -> None:
    async with asyncio.timeout(timeout):
        while True:
            try:
                await look()
                return
            except (PodfleetError, Conflict):
                await asyncio.sleep(0.05)
