"""`Servers`: the Pods of a benchmark, from none to ready, and to none again."""

from __future__ import annotations

import asyncio

from podfleet.bench.pods import MARK, freed, made
from podfleet.bench.turns import in_turns
from podfleet.errors import ConfigurationError, PodfleetError, WaitTimeout
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import KubeClient, Reflector
from podfleet.kube.paths import pods
from podfleet.model.manifest import annotations_of, name_of
from podfleet.model.names import CLAIM, FLEET
from podfleet.waiters.watching import explain, until_ready

__all__ = ["Servers"]

_AT_ONCE = 8  # requests in flight


class Servers:
    """The Pods of a benchmark: servers of a fleet of its own, and as many Pods of no fleet.

    Args:
        client: The transport.
        namespace: The namespace.
        spec: The fleet.
    """

    def __init__(self, client: KubeClient, namespace: str, spec: FleetSpec) -> None:
        self.client = client
        self.namespace = namespace
        self.spec = spec
        self.plain: list[str] = []
        """The names of those of no fleet."""
        self.names: set[str] = set()
        """The names of all: what is deleted."""
        self._over = False

    async def make(self, count: int) -> None:
        """Create so many of each.

        Raises:
            ConfigurationError: There are some of that fleet already.
        """
        await self._refuse_others()
        manifests = [
            made(self.spec, self.namespace, plain=plain)
            for plain in (False, True)
            for _ in range(count)
        ]
        self.plain = [name_of(pod) for pod in manifests[count:]]
        self.names = {name_of(pod) for pod in manifests}
        collection = pods(self.namespace)
        creating = asyncio.create_task(
            in_turns(
                _AT_ONCE,
                (self.client.create(collection, pod) for pod in manifests if not self._over),
            )
        )
        try:
            await asyncio.shield(creating)
        finally:
            # What is on its way when this is cancelled has to be there before it can be deleted.
            self._over = True
            await asyncio.wait({creating})

    async def until_ready(self, timeout: float) -> None:
        """Return when all are ready.

        Args:
            timeout: Seconds.

        Raises:
            ServerFailed: One will never be.
            WaitTimeout: They were not in time.
        """
        query = {"labelSelector": f"{MARK}={self.spec.name}"}
        reflector = Reflector(self.client, pods(self.namespace), query)
        reflector.start()
        try:
            await reflector.wait_synced(timeout)
            waited_for = ""
            try:
                async with asyncio.timeout(timeout):
                    for waited_for in sorted(self.names):
                        await until_ready(self.client, reflector.store, waited_for)
            except TimeoutError:
                pod = await self.client.get(pods(self.namespace, waited_for))
                diagnosis = await explain(self.client, pod)
                raise WaitTimeout(
                    f"{self.namespace}/{waited_for} is not ready after {timeout:g} s: "
                    f"{diagnosis or 'give it more time'}",
                    diagnosis=diagnosis,
                ) from None
        finally:
            await reflector.stop()

    async def free(self, name: str) -> None:
        """Have an allocated server free again."""
        path = pods(self.namespace, name)
        patch = freed(await self.client.get(path))
        await self.client.patch(path, patch, lambda now: CLAIM not in annotations_of(now))

    async def remove(self) -> None:
        """Delete all.

        Raises:
            PodfleetError: Some could not be; it says how to.
        """
        deleting = [self.client.delete(pods(self.namespace, name), uid=None) for name in self.names]
        answers = await asyncio.gather(*deleting, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, PodfleetError):
                answer.add_note(f"Pods of the benchmark are left: {self._by_hand}")
            if isinstance(answer, BaseException):
                raise answer

    async def _refuse_others(self) -> None:
        for selector in (f"{MARK}={self.spec.name}", f"{FLEET}={self.spec.name}"):
            async for pod in self.client.objects(pods(self.namespace), {"labelSelector": selector}):
                raise ConfigurationError(
                    "MODULE:FLEET",
                    self.spec.name,
                    f"there is {self.namespace}/{name_of(pod)}: another benchmark runs, or was "
                    f"killed. Wait, or {self._by_hand}",
                )

    @property
    def _by_hand(self) -> str:
        return f"kubectl delete pods -n {self.namespace} -l {MARK}={self.spec.name}"
