"""`KubeClient`: what the Kubernetes API is asked for, in plain JSON; each write exactly once."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from podfleet.errors import (
    AdmissionRefused,
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PodfleetError,
    ServerError,
    TransportError,
    Unauthorized,
)
from podfleet.kube.cluster import Cluster, Connection
from podfleet.kube.events import without_managed_fields
from podfleet.kube.pages import Page
from podfleet.kube.paths import delete_body
from podfleet.kube.retry import AMBIGUOUS, retrying
from podfleet.kube.transport import JSON, Transport
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of, uid_of
from podfleet.model.names import OPERATION

__all__ = ["KubeClient"]

_PAGE = "500"  # objects

_JSON_PATCH = "application/json-patch+json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MANAGER = "podfleet"


class KubeClient:
    """The Kubernetes API in plain JSON, for one event loop.

    Args:
        cluster: Which cluster, and as whom.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._transport = Transport(cluster)

    async def connect(self) -> Connection:
        """Load the configuration once.

        Raises:
            ConfigurationError: There is none, or it cannot be used.
            TransportError: The client is closed.
        """
        return await self._transport.connect()

    def hurry(self, seconds: float) -> None:
        """Give credentials that are being loaded no more than so many seconds from now on."""
        self._transport.hurry(seconds)

    async def close(self) -> None:
        """Close every connection, for good: a call that is tried again later opens none."""
        await self._transport.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return one object, or one page of a list."""
        async for attempt in retrying():
            with attempt:
                return await self._json("GET", path, query)
        raise AssertionError("unreachable: the last try raises")

    async def page(self, path: str, query: Mapping[str, str]) -> Page:
        """Return one page of a list, whose objects are made one by one."""
        async for attempt in retrying():
            with attempt:
                return Page((await self._transport.send("GET", path, query)).decode())
        raise AssertionError("unreachable: the last try raises")

    async def objects(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[Manifest, None]:
        """Yield all objects of a collection, page by page."""
        asked = {**query, "limit": _PAGE}
        while True:
            page = await self.page(path, asked)
            for shown in page:
                yield shown
            if not (onward := page.metadata.get("continue")):
                return
            asked["continue"] = str(onward)

    async def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Return a text, such as a container's log; tried once."""
        return (await self._transport.send("GET", path, query)).decode(errors="replace")

    async def create(self, path: str, body: Manifest) -> dict[str, Any]:
        """Create a named object, exactly once.

        The object is stamped with an operation id. Where it is not known whether a try was
        carried out, the object is looked up by its name before the next.

        Raises:
            AlreadyExists: The name is taken, by an object that is not this call's.
        """
        operation = uuid.uuid4().hex
        metadata = body["metadata"]
        stamped = {
            **body,
            "metadata": {
                **metadata,
                "annotations": {**(metadata.get("annotations") or {}), OPERATION: operation},
            },
        }

        return await self._write_once(
            lambda: self._json("POST", path, None, stamped),
            where=f"{path}/{metadata['name']}",
            done=lambda found: annotations_of(found).get(OPERATION) == operation,
        )

    async def ask(
        self, path: str, body: Manifest, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Post what leaves nothing behind: a review, a token request, a dry run."""
        async for attempt in retrying():
            with attempt:
                return await self._json("POST", path, query, body)
        raise AssertionError("unreachable: the last try raises")

    async def try_create(self, path: str, body: Manifest) -> dict[str, Any]:
        """Have the API server check a create, unknown fields included, and write nothing."""
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        return await self._dry_run("POST", path, query, body, JSON)

    async def try_patch(self, path: str, operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Have the API server check a JSON patch, and write nothing."""
        return await self._dry_run("PATCH", path, {"dryRun": "All"}, list(operations), _JSON_PATCH)

    async def _dry_run(
        self, method: str, path: str, query: Mapping[str, str], body: object, content_type: str
    ) -> dict[str, Any]:
        unreachable: ServerError | None = None
        async for attempt in retrying():
            with attempt:
                try:
                    return await self._json(method, path, query, body, content_type)
                except ServerError as error:
                    if error.plugin != "webhook":
                        raise
                    # It is what is to be found out. Six times its timeout would be a minute.
                    unreachable = error
        assert unreachable is not None
        raise unreachable

    async def apply(self, path: str, manifest: Manifest) -> dict[str, Any]:
        """Make an object as the manifest says, whether it exists or not (server-side apply)."""
        query = {"fieldManager": _MANAGER, "force": "true", "fieldValidation": "Strict"}
        async for attempt in retrying():
            with attempt:
                return await self._json("PATCH", path, query, manifest, _APPLY)
        raise AssertionError("unreachable: the last try raises")

    async def patch(
        self,
        path: str,
        operations: Sequence[Mapping[str, Any]],
        done: Callable[[Manifest], bool],
    ) -> dict[str, Any]:
        """Apply a JSON patch, exactly once.

        Args:
            path: The object's path.
            operations: The operations of RFC 6902; a failed ``test`` is an `Invalid`.
            done: Whether an object shows that this very patch was applied: asked after a
                try of which that is not known.

        Raises:
            Invalid: A ``test`` failed: the object is not in the state expected.
            NotFound: The object is gone.
        """
        return await self._write_once(
            lambda: self._json("PATCH", path, None, list(operations), _JSON_PATCH),
            where=path,
            done=done,
        )

    async def delete(
        self, path: str, *, uid: str | None, version: str | None = None, grace: int | None = None
    ) -> bool:
        """Delete one object.

        Args:
            path: The object's path.
            uid: Only the object of that UID: a namesake that came later is spared.
            version: Only at that resourceVersion: nobody wrote in between.
            grace: Seconds given to the process; by default the Pod's own.

        Returns:
            Whether it was there; ``False`` if it, or the object of that UID, is gone.

        Raises:
            Conflict: It changed since ``version``.
            NotFound: So it was answered, but it is there: the error's ``found``.
        """
        body = delete_body(uid=uid, version=version, grace=grace)
        async for attempt in retrying():
            with attempt:
                try:
                    await self._json("DELETE", path, None, body)
                except NotFound as error:
                    # Something on the way may have answered so: only what is seen counts.
                    error.found = await self._look(path)
                    if error.found is None or _goes(error.found, uid):
                        return False
                    raise
                except Conflict as error:
                    # apiserver: storage/interfaces.go says "UID in precondition: ...",
                    # registry/rest/delete.go "the UID in the precondition (...) does not match".
                    if re.search(r"UID in (the )?precondition", str(error)):
                        return False
                    raise
        return True

    def watch(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        silence: float,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a watch, an event each, until the server ends it.

        Args:
            path: The collection's path.
            query: ``resourceVersion``, selectors, ``timeoutSeconds``.
            silence: Seconds without a byte after which the connection counts as dead.
            opened: Called when the API server has begun to answer.

        Yields:
            A line each: see `events`.

        Raises:
            TransportError: The connection broke, or was silent for too long.
            ApiError: The watch was refused.
        """
        return self._transport.watch(path, query, silence=silence, opened=opened)

    async def until_answered(self, soonest: float, latest: float) -> None:
        """Return when a request of this client has been answered with success from now on.

        Args:
            soonest: Seconds, before which this does not return.
            latest: Seconds, after which it returns in any case.
        """
        await self._transport.until_answered(soonest, latest)

    async def _write_once(
        self,
        send: Callable[[], Any],
        *,
        where: str,
        done: Callable[[Manifest], bool],
    ) -> dict[str, Any]:
        """Send a write until it is known that it was carried out, and only once."""
        unknown = False
        # A Conflict is none of ours: the API server gave up applying a patch between the writes of
        # others (apiserver, endpoints/handlers/patch.go: it tries five times). Nothing was written.
        async for attempt in retrying(Conflict):
            with attempt:
                try:
                    if unknown and (found := await self._look(where)) and done(found):
                        return found
                    written: dict[str, Any] = await send()
                    return written
                except AMBIGUOUS:
                    unknown = True
                    raise
                except (AdmissionRefused, AlreadyExists, Invalid, NotFound) as error:
                    # Perhaps by our own earlier try, whose reply was lost; or something on the
                    # way sent this one twice: a quota may have had room for the first alone.
                    error.unsure = unknown
                    error.found = await self._look_after(error, where)
                    if error.found is not None and done(error.found):
                        return dict(error.found)
                    error.nothing_written = isinstance(error, AdmissionRefused) and not unknown
                    raise
                except (Forbidden, Unauthorized) as error:
                    error.nothing_written = not unknown
                    raise
        raise AssertionError("unreachable: the last try raises")

    async def _look_after(self, error: ApiError, path: str) -> dict[str, Any] | None:
        try:
            return await self._look(path)
        except PodfleetError:
            if isinstance(error, AdmissionRefused):  # says more than that it cannot be read
                return None
            raise

    async def _look(self, path: str) -> dict[str, Any] | None:
        try:
            return await self._json("GET", path)
        except NotFound:
            return None

    async def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        answer = await self._transport.send(method, path, query, body, content_type)
        try:
            parsed: dict[str, Any] = json.loads(without_managed_fields(answer))
        except ValueError as error:
            raise TransportError(f"{method} {path}: the answer is no JSON: {error}") from error
        return parsed


def _goes(shown: Manifest, uid: str | None) -> bool:
    """Return whether the object of that UID is being deleted, or is gone."""
    is_other = uid is not None and uid_of(shown) != uid
    return is_other or bool(shown["metadata"].get("deletionTimestamp"))
