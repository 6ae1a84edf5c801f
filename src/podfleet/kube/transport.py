"""`Transport`: requests and their answers, over the official client's configuration and transport.

This and `session` are the files that touch ``kubernetes.aio``'s `ApiClient`. It brings
authentication, TLS and pooling; the models on top of it cost several times the CPU and drop what
they do not know.

Credentials are renewed without closing anything: a token is sent with each request, and new
certificates need new connections, beside which the old ones stay until their last reader is done.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from attrs import frozen
from kubernetes.aio.client.api_client import ApiClient

from podfleet.errors import (
    ApiError,
    ConfigurationError,
    PodfleetError,
    TransportError,
    Unauthorized,
)
from podfleet.kube.cluster import Cluster, Connection
from podfleet.kube.credentials import Credentials
from podfleet.kube.lines import LineSplitter
from podfleet.kube.progress import Stage, asked, stage
from podfleet.kube.session import Session, Use
from podfleet.kube.status import error_from_answer
from podfleet.kube.unanswered import unanswered

__all__ = ["JSON", "Transport"]

JSON = "application/json"

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
        self._credentials = Credentials(cluster, self._adopt)
        self._session: Session | None = None
        self._retiring: dict[Session, asyncio.Task[None]] = {}
        self._closed = False
        self._waiting: set[asyncio.Event] = set()  # until a request is answered

    async def connect(self) -> Connection:
        """Load the configuration, unless that was done; renew it if that is due.

        Raises:
            ConfigurationError: There is none, or it cannot be used.
            TransportError: The client is closed.
        """
        self._check_open()
        try:
            with stage(Stage.CREDENTIALS):
                return await self._credentials.current()
        finally:
            self._check_open()

    def hurry(self, seconds: float) -> None:
        """Give no load of the configuration more than so many seconds from now on."""
        self._credentials.hurry(seconds)

    async def close(self) -> None:
        """Close every connection, for good: a call that is tried again later opens none."""
        self._closed = True
        await self._credentials.stop()
        sessions = [*self._retiring, *filter(None, [self._session])]
        self._session = None
        for task in list(self._retiring.values()):
            task.cancel()
        for session in sessions:
            await session.close()

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
            async with self._opened(request) as (response, use):
                answer = await use.wait(response.read, _REQUEST_TIMEOUT)
            for answered in self._waiting:
                answered.set()
            return answer
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._doubt_watches(began)
            raise unanswered(request.action, error) from error
        except (TransportError, asyncio.CancelledError):
            self._doubt_watches(began)
            raise

    async def watch(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        silence: float,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a watch until the server ends it; see `KubeClient.watch`."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT)
        request = _Request("GET", path, {**query, "watch": "true"}, None, JSON, timeout)
        clock = asyncio.get_running_loop().time
        try:
            async with self._opened(request) as (response, use):
                lines, gatherer = LineSplitter(), _Gatherer(response)
                use.heard, until = time.monotonic(), clock() + silence
                opened()
                while chunk := await use.chunk(response, until):
                    use.heard = time.monotonic()
                    for line in lines.feed(chunk):
                        yield line
                        until = clock() + silence
                    await gatherer.rest()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unanswered(f"{request.action}: the watch broke", error) from error

    async def until_answered(self, soonest: float, latest: float) -> None:
        """Return when a request has been answered with success since: see `KubeClient`."""
        answered = asyncio.Event()
        self._waiting.add(answered)
        try:
            await asyncio.sleep(soonest)
            async with asyncio.timeout(latest - soonest):
                await answered.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(answered)

    def _doubt_watches(self, began: float) -> None:
        """Cut the watches that were silent while a request got no answer: they are opened anew.

        What forgets one connection forgets them all, and a watch that is half-open is silent, as
        one on which nothing happens. Its own silence is noticed much later. What was under way
        when the request began came still, so that the last moments count.

        Args:
            began: When the request did.
        """
        now = time.monotonic()
        if now - began > _SUSPICIOUS:
            for session in [*self._retiring, *filter(None, [self._session])]:
                session.doubt(now - _SUSPICIOUS)

    @asynccontextmanager
    async def _opened(
        self, request: _Request
    ) -> AsyncGenerator[tuple[aiohttp.ClientResponse, Use], None]:
        """Send a request and give its answer, with fresh credentials if they had expired."""
        connection = await self.connect()
        for is_last in (False, True):
            session = self._session
            if session is None:
                raise TransportError(f"{request.action}: the client is closed")
            use, response = session.begin(), None
            try:
                response = await _answer(session, use, request)
                self._credentials.accepted()
                yield response, use
                return
            except Unauthorized as error:
                if response is not None:
                    raise
                if is_last:
                    self._credentials.rejected()
                    raise
                refused = error
            finally:
                session.end(use)
                if response is not None:
                    response.close() if request.timeout.total is None else response.release()
            with stage(Stage.CREDENTIALS):
                connection = await self._credentials.after_refusal(connection, refused)

    def _check_open(self) -> None:
        if self._closed:
            raise TransportError("the client is closed: its fleet was stopped")

    def _adopt(self, connection: Connection) -> None:
        """Use a configuration from now on; what is open stays open."""
        before = self._session
        if before is not None and before.identity == connection.identity:
            before.carry(connection)
            return
        self._session = Session(connection)
        if before is None:
            return
        if before.identity.host != connection.identity.host:
            before.cut()  # whatever is open there would wait for what happens elsewhere
        self._retiring[before] = task = asyncio.create_task(before.retire())
        task.add_done_callback(lambda _: self._retiring.pop(before, None))


async def _answer(session: Session, use: Use, request: _Request) -> aiohttp.ClientResponse:
    api, action = session.api, request.action
    url, headers = await _addressed(api, request)
    try:
        answer = await use.wait(
            lambda: api.call_api(
                request.method, url, headers, request.body, _request_timeout=request.timeout
            ),
            _REQUEST_TIMEOUT,  # a watch is answered at once, too, with no event
        )
        response: aiohttp.ClientResponse = answer.response
        if response.status >= 400:
            raise await _refusal(use, action, response)
        return response
    except ssl.SSLCertVerificationError as error:
        raise _untrusted(api, error) from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise _untrusted(api, error) from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise unanswered(action, error) from error
    except (TypeError, ValueError) as error:
        # aiohttp's words would show the header, which is a secret.
        raise ConfigurationError(
            "Cluster", api.configuration.host, "its token cannot be sent as an HTTP header"
        ) from error


async def _addressed(api: ApiClient, request: _Request) -> tuple[str, dict[str, str]]:
    """Return a request's URL and headers, the credentials included."""
    try:
        # Without the body: that is plain JSON, and need not be looked through for models.
        _, url, headers, _, _ = await api.param_serialize(
            request.method,
            request.path,
            query_params=list((request.query or {}).items()),
            header_params={"Accept": JSON, "Content-Type": request.content_type},
            auth_settings=["BearerToken"],
        )
    except Exception as error:
        if api.configuration.refresh_api_key_hook is None:
            raise
        raise ConfigurationError(
            "Cluster.client",
            api.configuration.host,
            f"its refresh_api_key_hook failed: {type(error).__name__}: {error}",
        ) from error
    return url, headers


async def _refusal(use: Use, action: str, response: aiohttp.ClientResponse) -> ApiError:
    try:
        body = await use.wait(response.read, _REQUEST_TIMEOUT)
    finally:
        response.release()
    return error_from_answer(action, response.status, body, response.headers)


def _untrusted(api: ApiClient, error: Exception) -> PodfleetError:
    return ConfigurationError(
        "Cluster", api.configuration.host, f"its certificate cannot be verified: {error}"
    )
