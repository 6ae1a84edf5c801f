"""How a player dials a server, over TCP and UDP: what the conformance suite asks a server with."""

from __future__ import annotations

import socket
import time

from podfleet.model import Endpoint

__all__ = ["over_tcp", "over_udp"]

_RESEND = 0.5  # seconds


def over_udp(endpoint: Endpoint, payload: bytes = b"hello", timeout: float = 5.0) -> str:
    """Send a datagram and return the answer; a lost one is sent again, as games do.

    Raises:
        OSError: No answer within the timeout, in seconds.
    """
    deadline = time.monotonic() + timeout
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as dialed:
        dialed.connect((endpoint.host, endpoint.port))
        dialed.settimeout(_RESEND)
        while True:
            try:
                dialed.send(payload)
                return dialed.recv(2048).decode()
            except OSError:
                if time.monotonic() > deadline:
                    raise


def over_tcp(endpoint: Endpoint, payload: bytes = b"hello", timeout: float = 5.0) -> str:
    """Send a line and return the answer.

    Raises:
        OSError: No answer within the timeout, in seconds.
    """
    with socket.create_connection((endpoint.host, endpoint.port), timeout) as dialed:
        dialed.sendall(payload + b"\n")
        return dialed.makefile().readline().strip()
