"""What the embedded cluster's servers do with the connections that they are told to cut."""

import asyncio
import socket
from collections.abc import Coroutine, Generator
from typing import Any

from podfleet.local.echo import Sockets


def test_a_connection_is_closed_that_is_cut_before_it_is_served() -> None:
    """A task that is cancelled before its first step runs no `finally`."""

    async def cut() -> bytes:
        loop = asyncio.get_running_loop()
        sockets = Sockets()
        served: list[str] = []

        async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
            served.append("it")

        def close_first(
            loop: asyncio.AbstractEventLoop,
            work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
            **kwargs: Any,
        ) -> "asyncio.Task[Any]":
            loop.call_soon(sockets.close)
            return asyncio.Task(work, loop=loop, **kwargs)

        with socket.create_server(("127.0.0.1", 0)) as free:
            where = free.getsockname()
        await sockets.serve(where, talk)
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, where)
            loop.set_task_factory(close_first)
            try:
                async with asyncio.timeout(10):
                    return await loop.sock_recv(client, 1)
            finally:
                assert not served

    assert asyncio.run(cut()) == b""
