"""Dial an endpoint until it answers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from podfleet.errors import ConfigurationError, WaitTimeout
from podfleet.model import Endpoint, Protocol

__all__ = ["until_reachable", "until_resolved"]

_PAUSE = (0.05, 1.0)  # seconds between two tries, doubled; nothing tells when a route is there
_TRY = 1.0  # seconds that one try may take


async def until_reachable(endpoint: Endpoint, timeout: float, payload: bytes | None) -> None:
    """Return once the endpoint answers from here.

    Args:
        endpoint: What to dial. TCP: a connection; UDP: ``payload`` is sent and any datagram
            from there counts; TCPUDP: TCP, and UDP too if there is a payload.
        timeout: Seconds.
        payload: What the game answers over UDP.

    Raises:
        ConfigurationError: A UDP endpoint without a payload: silence proves nothing.
        WaitTimeout: It did not answer in time.
    """
    dials: list[Callable[[], object]] = []
    if endpoint.protocol is not Protocol.UDP:
        dials.append(lambda: _dial_tcp(endpoint))
    if payload is not None and endpoint.protocol is not Protocol.TCP:
        dials.append(lambda: _dial_udp(endpoint, payload))
    if not dials:
        raise ConfigurationError(
            "payload", payload, f"{endpoint} is UDP: give bytes that the game server answers"
        )
    last = "nothing answered"
    pause = _PAUSE[0]
    try:
        async with asyncio.timeout(timeout):
            for dial in dials:
                while True:
                    try:
                        async with asyncio.timeout(_TRY):
                            await dial()  # type: ignore[misc]
                        break
                    except (OSError, TimeoutError) as error:
                        last = _said(error) or last
                    await asyncio.sleep(pause)
                    pause = min(_PAUSE[1], pause * 2)
    except TimeoutError as error:
        raise WaitTimeout(
            f"{endpoint}/{endpoint.protocol.value} did not answer from here within {timeout:g} s "
            f"({last}): check the firewall of the nodes, and the address policy"
        ) from error


async def until_resolved(host: str, timeout: float) -> None:
    """Return once the name resolves here.

    Args:
        host: A DNS name.
        timeout: Seconds.

    Raises:
        WaitTimeout: It did not in time.
    """
    pause = _PAUSE[0]
    last = "no answer"
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    await asyncio.get_running_loop().getaddrinfo(host, None)
                    return
                except socket.gaierror as error:
                    last = str(error)
                await asyncio.sleep(pause)
                pause = min(_PAUSE[1], pause * 2)
    except TimeoutError as error:
        raise WaitTimeout(
            f"{host} did not resolve here within {timeout:.3g} s ({last}): does this backend run "
            "in the cluster, and is its DNS up?"
        ) from error


def _said(error: OSError) -> str:
    """Return the system's words; asyncio's name the address again, but not what was wrong."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return str(error)
    return os.strerror(error.errno).lower()


async def _dial_tcp(endpoint: Endpoint) -> None:
    _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    writer.close()


class _AnyReply(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.replied: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.replied.done():
            self.replied.set_result(None)

    def error_received(self, exc: Exception) -> None:
        if not self.replied.done():
            self.replied.set_exception(exc)


async def _dial_udp(endpoint: Endpoint, payload: bytes) -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        _AnyReply, remote_addr=(endpoint.host, endpoint.port), family=socket.AF_UNSPEC
    )
    try:
        transport.sendto(payload)
        await protocol.replied
    finally:
        transport.close()
