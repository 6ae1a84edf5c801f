"""Why no answer came, in words. Pure."""

from __future__ import annotations

import os
import socket
import ssl

import aiohttp

from podfleet.errors import TransportError

__all__ = ["unanswered"]

_ADVICE = (
    "look whether the API server is up, whether its address in the kubeconfig is right, and at "
    "the network between"
)


def unanswered(action: str, error: BaseException) -> TransportError:
    """Return the error for a request that got no answer.

    Args:
        action: What was asked: ``"GET /api/v1/namespaces/games/pods"``.
        error: What the transport said.

    Example:
        >>> str(unanswered("GET /version", TimeoutError())).partition(" To do: ")[0]
        'GET /version: no answer in time.'
    """
    return TransportError(f"{action}: {_words(error)}. To do: {_ADVICE}.")


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port}: {_cause(error.os_error)}"
    return str(error).rstrip(".") or type(error).__name__


def _cause(error: OSError) -> str:
    """Return the system's words; asyncio's name the address again, but not what was wrong."""
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno).lower()
