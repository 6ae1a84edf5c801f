"""`Guard`: the last place before the wire: a fleet reads and writes nothing but its own objects.

An object is a fleet's if it is in the fleet's namespace and has the fleet's label. All writes of a
fleet go through here, so that no caller, and no mistake above, can have another's object changed:
what is not the fleet's is refused before a request is made, and what may have ceased to be the
fleet's since it was read is refused by the API server, in the same request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from podfleet.errors import (
    AlreadyExists,
    ApiError,
    ConfigurationError,
    Conflict,
    Invalid,
    NotFound,
)
from podfleet.kube.client import KubeClient
from podfleet.kube.paths import member, pointer
from podfleet.kube.retry import Backoff
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of, uid_of
from podfleet.model.names import FLEET

__all__ = ["Guard", "written_since"]

_LABEL = pointer("metadata", "labels", FLEET)
_UID = pointer("metadata", "uid")
_VERSION = pointer("metadata", "resourceVersion")
_AGAIN = (0.02, 1.0)  # seconds, doubled, until what was written since is deleted as it is now
_PATIENCE = 30.0  # seconds for such tries together


class Guard:
    """Reads and writes the objects of some fleets in a namespace, and no others.

    Args:
        client: The transport.
        namespace: The fleets' namespace.
        fleets: Their names; mostly it is one.
    """

    def __init__(self, client: KubeClient, namespace: str, fleets: Iterable[str]) -> None:
        self._client = client
        self._namespace = namespace
        self._fleets = tuple(fleets)

    def of(self, *fleets: str) -> Guard:
        """Return the guard of other fleets' objects, in the same namespace."""
        return Guard(self._client, self._namespace, fleets)

    def owns(self, shown: Manifest) -> bool:
        """Return whether an object is the fleet's: it has its label, in its namespace."""
        return (
            shown["metadata"].get("namespace") == self._namespace
            and labels_of(shown).get(FLEET) in self._fleets
        )

    @property
    def fleets(self) -> tuple[str, ...]:
        """The fleets whose objects it reads and writes."""
        return self._fleets

    async def get(self, collection: str, name: str) -> Manifest:
        """Return one of the fleet's objects.

        Args:
            collection: The collection's path.
            name: The object's name.

        Raises:
            NotFound: There is none of that name; or it is not the fleet's, and then it is the
                error's ``found``.
        """
        shown = await self._client.get(member(collection, name))
        if not self.owns(shown):
            raise self._foreign(shown)
        return shown

    async def find(self, collection: str, name: str) -> Manifest | None:
        """Return one of the fleet's objects; ``None`` if there is none of that name."""
        try:
            return await self.get(collection, name)
        except NotFound:
            return None

    async def create(self, collection: str, body: Manifest) -> Manifest:
        """Create one of the fleet's objects, exactly once: see `KubeClient.create`.

        Raises:
            AlreadyExists: The name is taken.
            ConfigurationError: It would not be the fleet's. Nothing was sent.
        """
        if not self.owns(body):
            raise ConfigurationError(
                "metadata",
                body["metadata"],
                f"must name namespace {self._namespace} and have the label {FLEET}={self._words}: "
                "a fleet makes only objects of its own",
            )
        return await self._client.create(collection, body)

    async def patch(
        self,
        collection: str,
        shown: Manifest,
        operations: Sequence[Mapping[str, Any]],
        done: Callable[[Manifest], bool],
    ) -> Manifest:
        """Patch one of the fleet's objects, exactly once: see `KubeClient.patch`.

        The patch tests that it is this very object, and the fleet's still.

        Args:
            collection: The collection's path.
            shown: The object, as it was seen.
            operations: What to do, as JSON patch.
            done: Whether an object shows that this very patch was applied.

        Raises:
            Invalid: Another ``test`` failed.
            NotFound: It is gone; or it is not the fleet's, and then it is the error's ``found``.
        """
        self._require(shown)
        label = _test(_LABEL, labels_of(shown)[FLEET])
        try:
            return await self._write(collection, shown, [label, *operations], done)
        except (Invalid, NotFound) as error:
            if error.found is not None and not self.owns(error.found):
                raise self._foreign(error.found) from error
            raise

    async def adopt(
        self,
        collection: str,
        shown: Manifest,
        operations: Sequence[Mapping[str, Any]],
        done: Callable[[Manifest], bool],
    ) -> Manifest:
        """Take over an object that belongs to no fleet yet, because the user asked for that.

        Args:
            collection: The collection's path.
            shown: The object, as it was seen: the patch tests that it was not written since.
            operations: What to do, as JSON patch; it adds the fleet's label.
            done: Whether an object shows that this very patch was applied.

        Raises:
            Invalid: It was written since.
            NotFound: It is gone, or is another fleet's.
        """
        if shown["metadata"].get("namespace") != self._namespace or FLEET in labels_of(shown):
            raise self._foreign(shown)
        version = _test(_VERSION, _version(shown))
        return await self._write(collection, shown, [version, *operations], done)

    async def delete(self, collection: str, shown: Manifest) -> bool:
        """Delete one of the fleet's objects, as it was seen.

        Args:
            collection: The collection's path.
            shown: The object: the request names its UID and its version.

        Returns:
            Whether it was there.

        Raises:
            Conflict: It was written since: perhaps it is not the fleet's any more.
            NotFound: It is not the fleet's. Nothing was sent.
        """
        self._require(shown)
        return await self._client.delete(
            member(collection, name_of(shown)),
            uid=uid_of(shown),
            version=_version(shown),
        )

    async def delete_while(
        self, collection: str, shown: Manifest, holds: Callable[[Manifest], bool]
    ) -> bool:
        """Delete one of the fleet's objects though others write to it, while something holds.

        Args:
            collection: The collection's path.
            shown: The object, as it was seen.
            holds: Whether it is to go, asked again whenever it was written since.

        Returns:
            Whether it was deleted.

        Raises:
            Conflict: It was written by others each time, for half a minute.
        """
        backoff = Backoff(_AGAIN, within=_PATIENCE)
        while True:
            try:
                return await self.delete(collection, shown)
            except Conflict:
                if backoff.spent:
                    raise
            now = await self.find(collection, name_of(shown))
            if now is None or uid_of(now) != uid_of(shown) or not holds(now):
                return False
            shown = now
            await backoff.wait()

    def taken(self, what: str, advice: str) -> AlreadyExists:
        """Return the error for a name that another object has.

        Args:
            what: The object: its kind, namespace and name.
            advice: What to do.
        """
        return AlreadyExists(
            f"{what} exists, and {self._words} did not create it: it is left alone: {advice}",
            status=409,
            reason="AlreadyExists",
        )

    async def _write(
        self,
        collection: str,
        shown: Manifest,
        operations: Sequence[Mapping[str, Any]],
        done: Callable[[Manifest], bool],
    ) -> Manifest:
        path = member(collection, name_of(shown))
        if not any(one["path"] == _UID for one in operations):
            operations = [_test(_UID, uid_of(shown)), *operations]
        written = await self._client.patch(path, operations, done)
        self._require(written)  # a lost reply is looked for by its name
        return written

    def _require(self, shown: Manifest) -> None:
        if not self.owns(shown):
            raise self._foreign(shown)

    def _foreign(self, shown: Manifest) -> NotFound:
        kind = shown.get("kind", "object")
        error = NotFound(
            f"{kind} {shown['metadata'].get('namespace')}/{name_of(shown)} is not fleet "
            f"{self._words}'s: it has not its label",
            status=404,
            reason="NotFound",
        )
        error.found = shown
        return error

    @property
    def _words(self) -> str:
        return " or ".join(self._fleets)


def written_since(error: ApiError, shown: Manifest) -> bool:
    """Return whether a refused write may have lost a race: to try it again is of use.

    Args:
        error: The refusal of a patch.
        shown: The object, as it was when the patch was made.
    """
    found = error.found
    return found is None or found["metadata"]["resourceVersion"] != _version(shown)


def _version(shown: Manifest) -> str:
    return str(shown["metadata"]["resourceVersion"])


def _test(path: str, value: object) -> Mapping[str, Any]:
    return {"op": "test", "path": path, "value": value}
