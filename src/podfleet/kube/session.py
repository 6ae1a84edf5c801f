"""`Session`: connections to an API server, and everything that waits on them.

A connection can be closed under a reader in ways that aiohttp does not report to the reader: it
then waits for ever. So each wait goes through a `Use`, which ends at once when the session is
closed, and which looks at the connection itself from time to time.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import aiohttp
from attrs import define, field
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.rest import RESTClientObject

from podfleet.errors import ConfigurationError
from podfleet.kube.cluster import Connection
from podfleet.kube.progress import Stage, stage

__all__ = ["Session", "Use"]

T = TypeVar("T")

_CLOSE_TIMEOUT = 1.0  # seconds for connections to end
_LOOK = 1.0  # seconds between two looks whether a connection that is read is still there


@define(eq=False)
class Use:
    """One request, or one watch, on a session's connections.

    Attributes:
        heard: When its watch was heard, on a clock that never goes back; ``None`` for a request.
    """

    heard: float | None = None
    _is_cut: bool = False
    _scope: asyncio.Timeout | None = field(default=None, init=False)

    def cut(self) -> None:
        """End it: whoever waits gets an error at once, and so does whoever waits next."""
        self._is_cut = True
        if self._scope is not None:
            with suppress(RuntimeError):  # its time is up anyway
                self._scope.reschedule(asyncio.get_running_loop().time())

    async def wait(self, work: Callable[[], Awaitable[T]], seconds: float | None) -> T:
        """Return what the work returns.

        Args:
            work: What to wait for.
            seconds: For how long.

        Raises:
            TimeoutError: The time was up.
            ConnectionAbortedError: It was cut.
        """
        self._check()
        try:
            async with asyncio.timeout(seconds) as self._scope:
                return await work()
        except TimeoutError:
            self._check()
            raise
        finally:
            self._scope = None

    async def chunk(self, response: aiohttp.ClientResponse, until: float) -> bytes:
        """Return the next bytes of an answer, empty at its end.

        Args:
            response: The answer.
            until: When that takes too long, on the event loop's clock.

        Raises:
            TimeoutError: Nothing came.
            OSError: The connection is gone.
        """
        clock = asyncio.get_running_loop().time
        while True:
            try:
                return await self.wait(response.content.readany, min(_LOOK, until - clock()))
            except TimeoutError:
                if clock() >= until:
                    raise
                if not _is_connected(response):
                    raise ConnectionAbortedError("the connection was closed") from None

    def _check(self) -> None:
        if self._is_cut:
            raise ConnectionAbortedError("the connection was given up")


def _is_connected(response: aiohttp.ClientResponse) -> bool:
    connection = response.connection
    transport = None if connection is None else connection.transport
    return transport is not None and not transport.is_closing()


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


class Session:
    """Connections of one host and one set of TLS material, whatever tokens go over them.

    Args:
        connection: The configuration that they are opened with.

    Raises:
        ConfigurationError: Its certificates or keys cannot be used.
    """

    def __init__(self, connection: Connection) -> None:
        self.identity = connection.identity
        try:
            self.api = ApiClient(connection.configuration)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                "Cluster",
                connection.configuration.host,
                f"its certificates or keys cannot be used: {error}",
            ) from error
        self.api.rest_client = _Closing(self.api.rest_client)
        self._uses: set[Use] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def carry(self, connection: Connection) -> None:
        """Send the credentials of another configuration from now on, over the same connections."""
        self.api.configuration = connection.configuration

    def begin(self, *, heard: float | None = None) -> Use:
        """Return a new use, to be ended by `end`."""
        use = Use(heard)
        self._uses.add(use)
        self._idle.clear()
        return use

    def end(self, use: Use) -> None:
        """Forget a use."""
        self._uses.discard(use)
        if not self._uses:
            self._idle.set()

    def doubt(self, since: float) -> None:
        """Cut the watches that were not heard since then."""
        for use in list(self._uses):
            if use.heard is not None and use.heard < since:
                use.cut()

    async def retire(self) -> None:
        """Close the connections when nothing uses them any more."""
        await self._idle.wait()
        await self.close()

    def cut(self) -> None:
        """End what is under way: whoever waits on a connection gets an error at once."""
        for use in list(self._uses):
            use.cut()

    async def close(self) -> None:
        """Close the connections; whoever waits on one gets an error at once."""
        self.cut()
        await self.api.close()
