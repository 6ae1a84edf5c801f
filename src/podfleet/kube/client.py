"""`KubeClient`: plain JSON over the official client's configuration and transport.

The one file that touches ``kubernetes.aio``'s `ApiClient`. It brings authentication, TLS and
pooling; the models on top of it cost several times the CPU and drop what they do not know.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import time
import uuid
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.rest import RESTClientObject

from podfleet.errors import (
    AlreadyExists,
    ApiError,
    ConfigurationError,
    Conflict,
    Invalid,
    NotFound,
    PodfleetError,
    TransportError,
    Unauthorized,
)
from podfleet.kube.cluster import Cluster, Connection
from podfleet.kube.events import without_managed_fields
from podfleet.kube.lines import LineSplitter
from podfleet.kube.pages import Page
from podfleet.kube.paths import delete_body
from podfleet.kube.retry import AMBIGUOUS, retrying
from podfleet.kube.status import error_from_answer
from podfleet.kube.unanswered import unanswered
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of
from podfleet.model.names import OPERATION

__all__ = ["KubeClient"]

_CLOSE_TIMEOUT = 1.0  # seconds for connections to end
_CONNECT_TIMEOUT = 5.0  # seconds
_REQUEST_TIMEOUT = 15.0  # seconds; the client's own defaults are 300 s and none at all
_PAGE = "500"  # objects
_GATHER = 0.05  # seconds; see `_Gatherer`
_SUSPICIOUS = 3.0  # seconds in vain, after which a watch that was silent meanwhile is doubted

_JSON = "application/json"
_JSON_PATCH = "application/json-patch+json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MANAGER = "podfleet"


class _Transport(RESTClientObject):
    """The client's transport, which is closed only when its sockets are.

    A connection that is dropped in the middle, as a watch is, ends its TLS in the background;
    if the event loop ends first, the socket is left open.

    Args:
        made: The client's own, in whose place it goes.
    """

    def __init__(self, made: RESTClientObject) -> None:
        # Not made anew: to load the system's certificates once more takes 20 ms.
        vars(self).update(vars(made))
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(
            limit=self.maxsize, ssl=self.ssl_context, socket_factory=self._open_socket
        )

    def _open_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        opened = socket.socket(family, kind, protocol)
        self._sockets.add(opened)
        return opened

    async def close(self) -> None:
        await super().close()
        deadline = asyncio.get_running_loop().time() + _CLOSE_TIMEOUT
        while any(opened.fileno() != -1 for opened in self._sockets):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.002)


class _Gatherer:
    """Leaves a busy stream alone for a moment, so that its events come many at a time.

    To wake up for an event takes four times as long as to read it. A stream with nothing in the
    last moment is read at once: only who follows hundreds of changes a second waits for any.

    Args:
        response: The stream.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._loop = asyncio.get_running_loop()
        self._read = self._loop.time() - _GATHER

    async def rest(self) -> None:
        """Return when the next read is due."""
        if self._loop.time() - self._read < _GATHER:
            connection = self._response.connection
            transport = None if connection is None else connection.transport
            if transport is not None:
                transport.pause_reading()
                await asyncio.sleep(_GATHER)
                transport.resume_reading()
        self._read = self._loop.time()


class KubeClient:
    """The Kubernetes API in plain JSON, for one event loop.

    Args:
        cluster: Which cluster, and as whom.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._connection: Connection | None = None
        self._api: ApiClient | None = None
        self._closed = False
        self._heard: dict[aiohttp.ClientResponse, float] = {}  # watches, and when each was heard
        self._connecting = asyncio.Lock()

    async def connect(self) -> Connection:
        """Load the configuration once.

        Raises:
            ConfigurationError: There is none, or it cannot be used.
            TransportError: The client is closed.
        """
        async with self._connecting:
            if self._closed:
                raise TransportError("the client is closed: its fleet was stopped")
            if self._connection is None:
                await self._load()
            assert self._connection is not None
            return self._connection

    async def close(self) -> None:
        """Close every connection, for good: a call that is tried again later opens none."""
        self._closed = True
        async with self._connecting:  # what is being opened is closed too
            api, self._api, self._connection = self._api, None, None
        if api is not None:
            await api.close()

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
                return Page((await self._send("GET", path, query)).decode())
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
        return (await self._send("GET", path, query)).decode(errors="replace")

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
        """
        body = delete_body(uid=uid, version=version, grace=grace)
        async for attempt in retrying():
            with attempt:
                try:
                    await self._json("DELETE", path, None, body)
                except NotFound:
                    return False
                except Conflict as error:
                    # apiserver: storage/interfaces.go says "UID in precondition: ...",
                    # registry/rest/delete.go "the UID in the precondition (...) does not match".
                    if re.search(r"UID in (the )?precondition", str(error)):
                        return False
                    raise
        return True

    async def watch(
        self, path: str, query: Mapping[str, str], *, silence: float
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a watch, an event each, until the server ends it.

        Args:
            path: The collection's path.
            query: ``resourceVersion``, selectors, ``timeoutSeconds``.
            silence: Seconds without a byte after which the connection counts as dead.

        Yields:
            A line each: see `events`.

        Raises:
            TransportError: The connection broke, or was silent for too long.
            ApiError: The watch was refused.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=silence
        )
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):  # it is answered at once, with no event
                response = await self._open(
                    "GET", path, {**query, "watch": "true"}, None, _JSON, timeout
                )
        except TimeoutError as error:
            raise unanswered(f"GET {path}", error) from error
        lines, gatherer = LineSplitter(), _Gatherer(response)
        self._heard[response] = time.monotonic()
        try:
            async for chunk in response.content.iter_any():
                self._heard[response] = time.monotonic()
                for line in lines.feed(chunk):
                    yield line
                await gatherer.rest()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unanswered(f"GET {path}: the watch broke", error) from error
        finally:
            self._heard.pop(response, None)
            response.close()

    def _doubt_watches(self) -> None:
        """Cut the watches that were silent while a request got no answer: they are opened anew.

        What forgets one connection forgets them all, and a watch that is half-open is silent, as
        one on which nothing happens. Its own silence is noticed much later. What was under way
        when the request began came still, so that the last moments count.
        """
        since = time.monotonic() - _SUSPICIOUS
        for response in [one for one, heard in self._heard.items() if heard < since]:
            response.close()

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
                except (AlreadyExists, Invalid, NotFound) as error:
                    # Perhaps by our own earlier try, whose reply was lost; or something on the
                    # way sent this one twice.
                    error.found = await self._look(where)
                    if error.found is not None and done(error.found):
                        return dict(error.found)
                    raise
        raise AssertionError("unreachable: the last try raises")

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
        content_type: str = _JSON,
    ) -> dict[str, Any]:
        answer = await self._send(method, path, query, body, content_type)
        try:
            parsed: dict[str, Any] = json.loads(without_managed_fields(answer))
        except ValueError as error:
            raise TransportError(f"{method} {path}: the answer is no JSON: {error}") from error
        return parsed

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = _JSON,
    ) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT, sock_connect=_CONNECT_TIMEOUT)
        began = time.monotonic()
        try:
            response = await self._open(method, path, query, body, content_type, timeout)
            try:
                return await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise unanswered(f"{method} {path}", error) from error
            finally:
                response.release()
        except (TransportError, asyncio.CancelledError):
            if time.monotonic() - began > _SUSPICIOUS:
                self._doubt_watches()
            raise

    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """Send a request and return its answer, with fresh credentials if they had expired."""
        connection = await self.connect()
        try:
            return await self._request(method, path, query, body, content_type, timeout)
        except Unauthorized:
            await self._renew(connection)
            return await self._request(method, path, query, body, content_type, timeout)

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        api = self._api
        if api is None:
            raise TransportError(f"{method} {path}: the client is closed")
        action = f"{method} {path}"
        try:
            # Without the body: that is plain JSON, and need not be looked through for models.
            _, url, headers, _, _ = await api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": _JSON, "Content-Type": content_type},
                auth_settings=["BearerToken"],
            )
            answer = await api.call_api(method, url, headers, body, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            if response.status >= 400:
                raise await _refusal(action, response)
            return response
        except ssl.SSLCertVerificationError as error:
            raise _untrusted(api, error) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise _untrusted(api, error) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unanswered(action, error) from error

    async def _renew(self, stale: Connection) -> None:
        """Load the configuration again, unless another request did it meanwhile."""
        async with self._connecting:
            if self._connection is stale:
                await self._load()

    async def _load(self) -> None:
        connection = await self._cluster.load()
        api = ApiClient(connection.configuration)
        api.rest_client = _Transport(api.rest_client)
        before, self._api = self._api, api
        self._connection = connection
        if before is not None:
            await before.close()


async def _refusal(action: str, response: aiohttp.ClientResponse) -> ApiError:
    try:
        body = await response.read()
    finally:
        response.release()
    return error_from_answer(action, response.status, body, response.headers)


def _untrusted(api: ApiClient, error: Exception) -> PodfleetError:
    return ConfigurationError(
        "Cluster", api.configuration.host, f"its certificate cannot be verified: {error}"
    )
