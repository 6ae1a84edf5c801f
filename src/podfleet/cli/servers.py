"""A server in a line, and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from podfleet.cli.output import columns, cut
from podfleet.model import GameServer
from podfleet.model.names import FLEET

__all__ = ["HEAD", "age", "as_json", "cells", "clean", "table"]

HEAD = ("name", "fleet", "state", "session", "node", "age")

_SESSION = 40  # cells of a terminal
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def age(since: datetime, now: datetime) -> str:
    """Return how long ago something was, in its two largest units at most.

    Example:
        >>> from datetime import timedelta
        >>> now = datetime(2026, 11, 24)
        >>> [age(now - timedelta(seconds=s), now) for s in (0, 61, 7200, 90061)]
        ['0s', '1m1s', '2h', '1d1h']
    """
    left = max(0, int((now - since).total_seconds()))
    parts: list[str] = []
    for unit, seconds in _UNITS:
        count, left = divmod(left, seconds)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
        if len(parts) == 2:
            break
    return "".join(parts) or "0s"


def clean(text: str) -> str:
    r"""Return a text without what would move the terminal's cursor: players may have chosen it.

    Example:
        >>> clean("match\x1b[2J 42")
        'match?[2J 42'
    """
    return "".join(char if char.isprintable() else "?" for char in text)


def table(servers: Iterable[GameServer], now: datetime) -> str:
    """Return the servers in columns, with their endpoints."""
    rows = [
        (*cells(server, now), ", ".join(map(str, server.endpoints)) or "-") for server in servers
    ]
    return columns((*HEAD, "endpoint"), rows)


def cells(server: GameServer, now: datetime) -> tuple[str, ...]:
    """Return a server's line, below `HEAD`.

    The state of one whose node does not report has a question mark: it is what was known last.
    """
    sessions = clean(", ".join(server.sessions) or server.session or "-")
    return (
        server.name,
        server.labels.get(FLEET, "-"),
        server.state.value + ("?" if server.unreachable_since else ""),
        cut(sessions, _SESSION),
        server.node or "-",
        age(server.created, now),
    )


def as_json(server: GameServer) -> dict[str, Any]:
    """Return a server as JSON: times as RFC 3339, and ``null`` for what is not known."""
    return {
        "name": server.name,
        "namespace": server.namespace,
        "fleet": server.labels.get(FLEET),
        "state": server.state.value,
        "session": server.session,
        "sessions": dict(server.sessions),
        "node": server.node,
        "created": server.created.isoformat(),
        "allocated": server.allocated and server.allocated.isoformat(),
        "restarts": server.restarts,
        "unreachable_since": server.unreachable_since and server.unreachable_since.isoformat(),
        "metadata": dict(server.metadata),
        "endpoints": [
            {
                "name": endpoint.name,
                "host": endpoint.host,
                "port": endpoint.port,
                "protocol": endpoint.protocol.value,
                "path": endpoint.path,
                "headers": dict(endpoint.headers),
            }
            for endpoint in server.endpoints
        ],
    }
