"""What the embedded cluster's servers do with the connections that they are told to cut."""

import asyncio
import socket
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from podfleet.local.echo import Sockets
from podfleet.local.network.forward import Forwarder, Target


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


@pytest.mark.parametrize("rounds", range(5))
@pytest.mark.parametrize("transport", ["server", "TCP", "UDP"])
def test_whatever_has_the_number_of_a_socket_that_was_closed_early_is_served(
    transport: str, rounds: int
) -> None:
    """A loop that still knows the number listens to it no more, for the next one that has it."""
    failed: list[dict[str, Any]] = []

    async def play() -> bytes:
        asyncio.get_running_loop().set_exception_handler(lambda _, why: failed.append(why))
        where, other = free_ports(2)
        if transport == "server":
            closed = Sockets()
            beginning = asyncio.create_task(closed.echo(where, "closed"))
        else:
            forwarder = Forwarder(where, transport, [Target(other)])
            forwarder.listen()
        for _ in range(rounds):
            await asyncio.sleep(0)
        if transport == "server":
            beginning.cancel()
            await asyncio.wait({beginning})
            closed.close()
        else:
            forwarder.close()
        for _ in range(5):
            await asyncio.sleep(0)
        sockets = Sockets()
        try:
            await sockets.echo(other, "server")
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(*other)
                writer.write(b"hello\n")
                answer = await reader.readline()
                writer.close()
                return answer
        finally:
            sockets.close()

    assert asyncio.run(play()) == b"server hello\n"
    assert not failed


def free_ports(count: int) -> list[tuple[str, int]]:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname() for one in opened]
    finally:
        for one in opened:
            one.close()
