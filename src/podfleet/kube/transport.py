"""`Transport`: requests and their answers, over the official client's configuration and transport.

The one file that touches ``kubernetes.aio``'s `ApiClient`. It brings authentication, TLS and
pooling; the models on top of it cost several times the CPU and drop what they do not know.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import weakref
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
from attrs import frozen
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.rest import RESTClientObject

from podfleet.errors import (
    ApiError,
    ConfigurationError,
    PodfleetError,
    TransportError,
    Unauthorized,
)
from podfleet.kube.cluster import Cluster, Connection
from podfleet.kube.lines import LineSplitter
from podfleet.kube.progress import Stage, asked, stage
from podfleet.kube.status import error_from_answer
from podfleet.kube.unanswered import unanswered

__all__ = ["JSON", "Transport"]

JSON = "application/json"

_CLOSE_TIMEOUT = 1.0  # seconds for connections to end
_CONNECT_TIMEOUT = 5.0  # seconds
_REQUEST_TIMEOUT = 15.0  # seconds; the client's own defaults are 300 s and none at all
_GATHER = 0.05  # seconds; see `_Gatherer`
_SUSPICIOUS = 3.0  # seconds in vain, after which a watch that was silent meanwhile is doubted


@frozen
class _Request:
    method: str
    path: str
    query: Mapping[str, str] | None
    body: object
    content_type: str
    timeout: aiohttp.ClientTimeout

    @property
    def action(self) -> str:
        """What it does, in an error's words."""
        return f"{self.method} {self.path}"


class _Connector(aiohttp.TCPConnector):
    """The one that notes how long it takes to connect, for whoever waits for it."""

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        with stage(Stage.CONNECT):
            return await super().connect(*args, **kwargs)


class _Closing(RESTClientObject):
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
        return _Connector(
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


class Transport:
    """Connections to one cluster's API server, for one event loop.

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
        with stage(Stage.CREDENTIALS):
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

    @asked
    async def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
    ) -> bytes:
        """Send a request, once, and return its answer.

        Raises:
            ApiError: It was refused.
            TransportError: It got no answer.
        """
        timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT, sock_connect=_CONNECT_TIMEOUT)
        request = _Request(method, path, query, body, content_type, timeout)
        began = time.monotonic()
        try:
            response = await self._open(request)
            try:
                return await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise unanswered(request.action, error) from error
            finally:
                response.release()
        except (TransportError, asyncio.CancelledError):
            if time.monotonic() - began > _SUSPICIOUS:
                self._doubt_watches()
            raise

    async def watch(
        self, path: str, query: Mapping[str, str], *, silence: float
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a watch until the server ends it; see `KubeClient.watch`."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=silence
        )
        request = _Request("GET", path, {**query, "watch": "true"}, None, JSON, timeout)
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):  # it is answered at once, with no event
                response = await self._open(request)
        except TimeoutError as error:
            raise unanswered(request.action, error) from error
        lines, gatherer = LineSplitter(), _Gatherer(response)
        self._heard[response] = time.monotonic()
        try:
            async for chunk in response.content.iter_any():
                self._heard[response] = time.monotonic()
                for line in lines.feed(chunk):
                    yield line
                await gatherer.rest()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unanswered(f"{request.action}: the watch broke", error) from error
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

    async def _open(self, request: _Request) -> aiohttp.ClientResponse:
        """Send a request and return its answer, with fresh credentials if they had expired."""
        connection = await self.connect()
        try:
            return await self._answer(request)
        except Unauthorized:
            await self._renew(connection)
            return await self._answer(request)

    async def _answer(self, request: _Request) -> aiohttp.ClientResponse:
        api, action = self._api, request.action
        if api is None:
            raise TransportError(f"{action}: the client is closed")
        try:
            # Without the body: that is plain JSON, and need not be looked through for models.
            _, url, headers, _, _ = await api.param_serialize(
                request.method,
                request.path,
                query_params=list((request.query or {}).items()),
                header_params={"Accept": JSON, "Content-Type": request.content_type},
                auth_settings=["BearerToken"],
            )
            answer = await api.call_api(
                request.method, url, headers, request.body, _request_timeout=request.timeout
            )
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
        with stage(Stage.CREDENTIALS):
            async with self._connecting:
                if self._connection is stale:
                    await self._load()

    async def _load(self) -> None:
        connection = await self._cluster.load()
        api = ApiClient(connection.configuration)
        api.rest_client = _Closing(api.rest_client)
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
