"""Whatever closes the connection of a watch, its reader ends."""

import asyncio
import contextlib
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from podfleet import Cluster, TransportError
from podfleet.kube.transport import Transport

Closing = Callable[["Stage"], Awaitable[object]]


class Stage:
    """A watch that is open, silent, and read."""

    def __init__(self, host: str, authority: str | None) -> None:
        configuration = type.__call__(Configuration)
        configuration.host = host
        configuration.ssl_ca_cert = authority
        self.transport = Transport(Cluster(client=SimpleNamespace(configuration=configuration)))
        self.began = asyncio.Event()
        self.server: web.Request | None = None

    @property
    def session(self) -> Any:
        return self.transport._session

    @property
    def connection(self) -> Any:
        """The client's own."""
        connector = self.session.api.rest_client.pool_manager.connector
        (protocol,) = connector._acquired
        return protocol

    async def read(self, silence: float) -> None:
        async for _ in self.transport.watch("/api/v1/pods", {}, silence=silence):
            self.began.set()


@contextlib.asynccontextmanager
async def stage(tls: tuple[Path, Path] | None) -> AsyncIterator[Stage]:
    made: list[Stage] = []

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"BOOKMARK","object":{}}\n')
        made[0].server = request
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.01)
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", watch)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    made.append(Stage(f"http{'s' if tls else ''}://127.0.0.1:{port}", tls and str(tls[0])))
    try:
        yield made[0]
    finally:
        await made[0].transport.close()
        await runner.cleanup()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "server.crt", folder / "server.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-out", made[0], "-keyout", made[1]),
        ],
        check=True,
        capture_output=True,
    )
    return made


async def close_client(stage: Stage) -> None:
    await stage.transport.close()


async def close_session(stage: Stage) -> None:
    await stage.session.close()


async def close_api(stage: Stage) -> None:
    await stage.session.api.close()


async def close_pool(stage: Stage) -> None:
    await stage.session.api.rest_client.pool_manager.close()


async def close_protocol(stage: Stage) -> None:
    stage.connection.close()


async def abort_transport(stage: Stage) -> None:
    stage.connection.transport.abort()


async def doubt(stage: Stage) -> None:
    stage.session.doubt(time.monotonic() + 1)


async def reset_by_server(stage: Stage) -> None:
    assert stage.server is not None
    assert stage.server.transport is not None
    raw = stage.server.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stage.server.transport.abort()


CLOSINGS: list[Closing] = [
    close_client,
    close_session,
    close_api,
    close_pool,
    close_protocol,
    abort_transport,
    doubt,
    reset_by_server,
]


@pytest.mark.parametrize("closing", CLOSINGS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("over", ["http", "https"])
def test_the_reader_ends(closing: Closing, over: str, tls: tuple[Path, Path]) -> None:
    async def play() -> None:
        async with stage(tls if over == "https" else None) as scene:
            reader = asyncio.create_task(scene.read(silence=60.0))
            await asyncio.wait_for(scene.began.wait(), 10)
            await closing(scene)
            with pytest.raises(TransportError, match="the watch broke"):
                await asyncio.wait_for(reader, 3)

    asyncio.run(play())


def test_the_reader_of_a_silent_watch_ends() -> None:
    async def play() -> None:
        async with stage(None) as scene:
            reader = asyncio.create_task(scene.read(silence=0.5))
            with pytest.raises(TransportError, match="no answer in time"):
                await asyncio.wait_for(reader, 5)

    asyncio.run(play())
