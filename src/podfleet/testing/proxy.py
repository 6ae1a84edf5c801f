"""A reverse proxy before the API server, which can be told to fail."""

import asyncio
import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import AddrInfoType, ClientError, ClientSession, ClientTimeout, TCPConnector, web

from podfleet.testing.fault import Fault

__all__ = ["FaultyApi"]

_HOP_BY_HOP = {"transfer-encoding", "connection", "content-length", "content-encoding", "host"}

_LOOK = 0.05  # seconds
_GOODBYE = 5.0  # seconds that the API server has to end a TLS connection


class FaultyApi:
    """The proxy; it serves plain HTTP on a loopback port, in a thread of its own.

    Args:
        kubeconfig: Names the API server that it stands before (in JSON, which is YAML).
        after_write: Called with 1 for the first write that the API server has carried out, 2
            for the second ...; before its answer is passed on.
        after_answer: Likewise, when its answer has been passed on.
    """

    def __init__(
        self,
        kubeconfig: Path,
        after_write: Callable[[int], None] = lambda _: None,
        after_answer: Callable[[int], None] = lambda _: None,
    ) -> None:
        config = json.loads(kubeconfig.read_text())
        self._after_write = after_write
        self._after_answer = after_answer
        self._writes = 0
        upstream = config["clusters"][0]["cluster"]
        self._upstream = upstream["server"]
        self._trust: ssl.SSLContext | bool = True
        if self._upstream.startswith("https:"):  # to load the system's certificates takes 20 ms
            data = upstream.get("certificate-authority-data", "")
            self._trust = ssl.create_default_context(
                cafile=upstream.get("certificate-authority"),
                cadata=base64.b64decode(data).decode() or None,
            )
        self.seen: list[str] = []
        """Every request: ``"PATCH /api/v1/..."``."""
        self.faults: list[Fault] = []
        """What is yet to fail; ``clear()`` it to have all go well again."""
        self.path = kubeconfig
        """The kubeconfig that goes through here, while `kubeconfig` is entered."""
        self._dark = False
        self._mute = False
        self._muted: set[int] = set()
        self._open: list[web.Request] = []
        self._sockets: list[socket.socket] = []
        self._watches: list[tuple[web.Request, web.StreamResponse]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> str:
        """Serve; return the URL."""
        self._thread.start()
        return str(self._call(self._start()))

    def stop(self) -> None:
        """Stop serving."""
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fail(self, fault: Fault) -> Fault:
        """Have the next matching requests fail."""
        self.faults.append(fault)
        return fault

    def count(self, words: str) -> int:
        """Return how many requests contained these words."""
        return sum(words in request for request in self.seen)

    @property
    def watching(self) -> tuple[str, ...]:
        """The paths, with their queries, of the watches that are open and answered."""
        return tuple(request.path_qs for request, _ in self._watches)

    def cut_watches(self) -> None:
        """Cut every watch that is open."""
        self._on_loop(lambda: [self._cut(request) for request, _ in self._watches])

    def inject(self, line: bytes) -> None:
        """Write a line of our own into every watch that is open."""

        async def write() -> None:
            for request, response in self._watches:
                if request.transport is not None and not request.transport.is_closing():
                    await response.write(line + b"\n")

        self._call(write())

    def expire_watches(self) -> None:
        """Tell every open watch that its version is too old (410), as after a compaction."""
        told = Fault("GET", "", status=410, message="too old resource version: 1 (2)").answer
        self.inject(json.dumps({"type": "ERROR", "object": told}).encode())

    @contextmanager
    def blackout(self) -> Iterator[None]:
        """Cut everything, and answer nobody, for as long as the block lasts."""

        def begin() -> None:
            self._dark = True
            for request in self._open:
                self._cut(request)

        self._on_loop(begin)
        try:
            yield
        finally:
            self._dark = False

    @contextmanager
    def half_open(self) -> Iterator[None]:
        """Swallow every byte, and cut nothing, for as long as the block lasts.

        What was open then stays mute after it, as a connection that a firewall has forgotten.
        """

        def begin() -> None:
            self._mute = True
            self._muted.update(map(id, self._open))

        self._on_loop(begin)
        try:
            yield
        finally:
            self._mute = False

    async def _start(self) -> str:
        connector = TCPConnector(ssl=self._trust, limit=0, socket_factory=self._socket)
        self._session = ClientSession(connector=connector)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        for request in self._open:
            self._cut(request)
        await self._runner.cleanup()
        await self._session.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for _ in range(10):  # a cut connection is closed in one of the loop's next rounds
            await asyncio.sleep(0.01)
        # One to the API server that was left before its end is open until that says goodbye, too;
        # asyncio tells nobody when that is.
        deadline = time.monotonic() + _GOODBYE
        while self._asking() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def _socket(self, address: AddrInfoType) -> socket.socket:
        """Make one for a connection to the API server, as `socket_factory` asks for it."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._sockets = [*self._asking(), made]
        return made

    def _asking(self) -> list[socket.socket]:
        """Return the sockets of connections to the API server that are open."""
        return [one for one in self._sockets if one.fileno() >= 0]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._open.append(request)
        try:
            return await self._answer(request)
        finally:
            self._open = [one for one in self._open if one is not request]
            self._watches = [one for one in self._watches if one[0] is not request]
            self._muted.discard(id(request))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path_qs}")
        if self._dark:
            self._cut(request)
            return web.Response()
        if self._mute:
            return await self._say_nothing(request)
        fault = next((fault for fault in self.faults if fault.takes(request)), None)
        if fault is not None:
            if fault.silent:
                return await self._say_nothing(request)
            await asyncio.sleep(fault.delay)
            if fault.refuses:
                return self._refuse(request, fault)
        if fault is not None and fault.duplicate:
            await self._ask(request)
        return await self._forward(request, fault)

    async def _ask(self, request: web.Request) -> None:
        """Have a request carried out, and take no note of the answer."""
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        url = self._upstream + request.path_qs
        content = await request.read()
        async with self._session.request(
            request.method, url, headers=headers, data=content
        ) as answer:
            await answer.read()

    async def _say_nothing(self, request: web.Request) -> web.Response:
        """Keep a connection open until its client has enough."""
        # aiohttp tells nobody that a client has gone.
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
        return web.Response()

    def _refuse(self, request: web.Request, fault: Fault) -> web.Response:
        if not fault.status:
            self._cut(request)
        return web.json_response(fault.answer, status=fault.status or 500, headers=fault.headers)

    async def _forward(self, request: web.Request, fault: Fault | None) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        try:
            async with self._session.request(
                request.method,
                self._upstream + request.path_qs,
                headers=headers,
                data=await request.read(),
                timeout=ClientTimeout(total=None),
            ) as upstream:
                if fault is not None and fault.lose_reply:
                    await upstream.read()
                    self._cut(request)
                    return web.Response()
                if request.method == "GET" or upstream.status >= 400:
                    return await self._copy(request, upstream)
                self._writes = number = self._writes + 1
                self._after_write(number)
                answer = await self._copy(request, upstream)
                self._after_answer(number)
                return answer
        except (ClientError, ConnectionError):
            self._cut(request)
            return web.Response(status=502)

    async def _copy(self, request: web.Request, upstream: Any) -> web.StreamResponse:
        if id(request) in self._muted:
            return await self._say_nothing(request)
        headers = {k: v for k, v in upstream.headers.items() if k.lower() not in _HOP_BY_HOP}
        response = web.StreamResponse(status=upstream.status, headers=headers)
        await response.prepare(request)
        if "watch=true" in request.path_qs:
            self._watches.append((request, response))
        async for chunk in upstream.content.iter_any():
            if id(request) in self._muted:
                return await self._say_nothing(request)
            await response.write(chunk)
        await response.write_eof()
        return response

    @staticmethod
    def _cut(request: web.Request) -> None:
        if request.transport is not None:
            request.transport.abort()

    def _on_loop(self, work: Callable[[], object]) -> None:
        async def run() -> None:
            work()

        self._call(run())

    @contextmanager
    def kubeconfig(self, original: Path) -> Iterator[Path]:
        """Serve, and give a kubeconfig that goes through here, with the credentials of another."""
        config = json.loads(original.read_text())
        config["clusters"][0]["cluster"] = {"server": self.start()}
        self.path = original.with_name(f"through-proxy-{id(self)}.kubeconfig")
        self.path.touch(mode=0o600)
        self.path.write_text(json.dumps(config))
        try:
            yield self.path
        finally:
            self.stop()
            self.path.unlink()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
