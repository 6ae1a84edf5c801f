"""`SharedObjects`: what all servers of a fleet share: the headless Service, the Gateway."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from podfleet.errors import AdmissionRefused, AlreadyExists, ConfigurationError, Forbidden, NotFound
from podfleet.exposure import Resource
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import Guard, KubeClient
from podfleet.kube.paths import object_path, pointer
from podfleet.kube.retry import Backoff
from podfleet.manifests import labelled, namespaced
from podfleet.model import Manifest
from podfleet.model.manifest import name_of, namespace_of

__all__ = ["SharedObjects", "differences"]

_AGAIN = (0.02, 1.0)  # seconds, doubled, until what another replica makes is read
_PATIENCE = 10.0  # seconds for such tries together


class SharedObjects:
    """Makes and reads them; never removes them, for other replicas may use them.

    Args:
        spec: The fleet's.
        client: Reads, also what is an administrator's.
        guard: Writes the fleet's objects.
        namespace: The fleet's namespace.
    """

    def __init__(self, spec: FleetSpec, client: KubeClient, guard: Guard, namespace: str) -> None:
        self._spec = spec
        self._client = client
        self._guard = guard
        self._resources = [
            (one, namespaced(one, namespace) if one.exists else labelled(one, namespace, spec.name))
            for one in spec.shared
        ]
        self._shown: tuple[Manifest, ...] | None = None
        self._shown_at = 0.0
        self._asking = asyncio.Lock()

    async def prepare(self) -> None:
        """Make what is missing, and correct what is ours and different.

        Raises:
            ConfigurationError: An API or an object that must be there is not, or an object of
                that name is somebody else's.
        """
        for api in self._spec.exposure.apis():
            await self._require(api)
        began = time.monotonic()
        self._shown = tuple([await self._ready(*each) for each in self._resources])
        self._shown_at = began

    async def show(self, max_age: float) -> tuple[Manifest, ...]:
        """Return them as the cluster shows them, in the strategy's order.

        Args:
            max_age: Seconds for which an answer counts: a load balancer's address may come, or
                change. Of a strategy that reads none of them it always does.
        """
        if not self._spec.exposure.reads_shared:
            max_age = math.inf
        async with self._asking:
            if self._shown is None or time.monotonic() - self._shown_at > max_age:
                began = time.monotonic()
                asked = (self._shown_now(*each) for each in self._resources)
                self._shown = tuple(await asyncio.gather(*asked))
                self._shown_at = began
            return self._shown

    async def _shown_now(self, resource: Resource, wanted: dict[str, Any]) -> Manifest:
        found = await self._client.get(_path(resource.plural, wanted, one=True))
        if wrong := self._not_ours(resource, wanted, found):
            raise wrong
        return found

    def _not_ours(
        self, resource: Resource, wanted: dict[str, Any], found: Manifest
    ) -> ConfigurationError | None:
        """Return what to tell if an object is somebody else's, and not what the fleet needs."""
        wrong = list(differences(wanted.get("spec", {}), found.get("spec", {})))
        if not wrong or (self._guard.owns(found) and not resource.exists):
            return None
        return ConfigurationError(
            "Fleet.exposure",
            self._spec.exposure,
            f"{_words(wanted)} is not this fleet's, and not as it needs it "
            f"({'; '.join(wrong)}): rename the fleet, or remove that object",
        )

    async def _require(self, api: str) -> None:
        try:
            await self._client.get(f"/apis/{api}")
        except NotFound as error:
            raise ConfigurationError(
                "Fleet.exposure",
                self._spec.exposure,
                f"the cluster does not serve {api}: install what brings it",
            ) from error

    async def _ready(self, resource: Resource, wanted: dict[str, Any]) -> Manifest:
        """Return an object as the fleet needs it; another replica may make it at this moment."""
        backoff = Backoff(_AGAIN, free=1, within=_PATIENCE)
        while True:
            try:
                return await self._one(resource, wanted)
            except AlreadyExists:
                if backoff.spent:
                    raise
            await backoff.wait()

    async def _one(self, resource: Resource, wanted: dict[str, Any]) -> Manifest:
        try:
            found = await self._client.get(_path(resource.plural, wanted, one=True))
        except NotFound as error:
            if resource.exists:
                raise ConfigurationError(
                    "Fleet.exposure", self._spec.exposure, f"there is no {_words(wanted)}: make it"
                ) from error
            return await self._make(resource, wanted)
        if wrong := self._not_ours(resource, wanted, found):
            raise wrong
        if not any(differences(wanted.get("spec", {}), found.get("spec", {}))):
            return found
        return await self._correct(resource, wanted, found)

    async def _make(self, resource: Resource, wanted: dict[str, Any]) -> Manifest:
        try:
            return await self._guard.create(_path(resource.plural, wanted), wanted)
        except AdmissionRefused:
            raise  # no right is missing
        except Forbidden as error:
            raise ConfigurationError(
                "Fleet.exposure",
                self._spec.exposure,
                f"{_words(wanted)} is missing, and there is no right to make it: "
                f"apply what fleet.manifests() returns ({error})",
            ) from error

    async def _correct(
        self, resource: Resource, wanted: dict[str, Any], shown: Manifest
    ) -> Manifest:
        patch = [
            {"op": "add", "path": pointer("spec", key), "value": value}
            for key, value in wanted["spec"].items()
        ]
        try:
            return await self._guard.patch(
                _path(resource.plural, wanted),
                shown,
                patch,
                done=lambda found: not any(differences(wanted["spec"], found["spec"])),
            )
        except AdmissionRefused:
            raise
        except Forbidden as error:
            raise ConfigurationError(
                "Fleet.exposure",
                self._spec.exposure,
                f"{_words(wanted)} is of another template, and there is no right to change it: "
                f"apply what fleet.manifests() returns ({error})",
            ) from error


def differences(
    wanted: Mapping[str, Any], found: Mapping[str, Any], path: str = "spec"
) -> Iterator[str]:
    """Yield what is wanted and not found; what the cluster added to it is no difference.

    A selector must be exactly the one wanted: one more label selects fewer Pods.

    Example:
        >>> list(differences({"clusterIP": "None"}, {"clusterIP": "None", "type": "ClusterIP"}))
        []
        >>> list(differences({"selector": {"a": "b"}}, {"selector": {"a": "c"}}))
        ["spec.selector is {'a': 'c'}, not {'a': 'b'}"]
    """
    for key, value in wanted.items():
        shown = found.get(key)
        where = f"{path}.{key}"
        if isinstance(value, Mapping) and isinstance(shown, Mapping) and key != "selector":
            yield from differences(value, shown, where)
        elif isinstance(value, list) and isinstance(shown, list) and len(value) == len(shown):
            for number, (one, other) in enumerate(zip(value, shown, strict=True)):
                yield from differences({f"{key}[{number}]": one}, {f"{key}[{number}]": other}, path)
        elif value != shown:
            yield f"{where} is {shown!r}, not {value!r}"


def _path(plural: str, manifest: Manifest, *, one: bool = False) -> str:
    object_name = name_of(manifest) if one else None
    return object_path(manifest["apiVersion"], plural, namespace_of(manifest), object_name)


def _words(manifest: Manifest) -> str:
    return f"{manifest['kind']} {namespace_of(manifest)}/{name_of(manifest)}"
