"""`gameserver`: a game server for tests, which runs in the process of an embedded cluster.

It does what the test image does on a real cluster: it echoes what it is sent, its Pod's name
first, and its environment tells it to behave badly.

==================  ==========================================================
``PORT``            echoes on UDP and TCP (7777)
``EXTRA_PORTS``     more of them: ``7778,7779``
``HTTP_PORT``       HTTP (8080): ``/``, ``/client`` (its address), ``/healthz``, ``/notes``
                    (what the kubelet tells it of its allocation)
``READY_AFTER``     seconds until ``/healthz`` answers 200 (0)
``NEVER_READY``     ``/healthz`` never answers 200
``EXIT_AFTER``      seconds until it exits, with ``EXIT_CODE`` (0)
``CRASH``           exits at once, with code 1
``LAST_LINE``       what it prints before it exits
``HOG_MEMORY_MB``   takes too much memory: it is killed for that
==================  ==========================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from podfleet.local import ServerContext
from podfleet.local.echo import Sockets

__all__ = ["IMAGE", "gameserver"]

IMAGE = "podfleet.test/gameserver:1"
"""What the fixtures register it as."""

_FOREVER = 10**9  # seconds


async def gameserver(context: ServerContext) -> int:
    """Serve until told to end; return the exit code."""
    env, code = context.env, 0
    sockets = Sockets()
    try:
        if env.get("CRASH"):
            return 1
        extra = [one for one in env.get("EXTRA_PORTS", "").split(",") if one]
        for port in (env.get("PORT", "7777"), *extra):
            await sockets.echo(context.where(int(port)), context.name)
        where = context.where(int(env.get("HTTP_PORT", "8080")))
        await sockets.serve(where, _Web(context.name, env))
        context.print(f"{context.name}: ready for players")
        if env.get("HOG_MEMORY_MB"):
            raise MemoryError
        await asyncio.sleep(float(env.get("EXIT_AFTER") or _FOREVER))
        code = int(env.get("EXIT_CODE", "0"))
    except asyncio.CancelledError:
        pass  # told to end
    finally:
        sockets.close()
        if env.get("LAST_LINE"):
            context.print(env["LAST_LINE"])
    return code


class _Web:
    """The few pages that it has."""

    def __init__(self, name: str, env: Mapping[str, str]) -> None:
        self._name = name
        self._env = env
        self._began = asyncio.get_running_loop().time()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode()
        status, text = 200, f"{self._name} {path}"
        if path == "/notes":
            notes = Path(self._env["PODFLEET_ROOT"], "etc/podfleet/annotations")
            text = await asyncio.to_thread(notes.read_text)
        elif path == "/client":
            text = writer.get_extra_info("peername")[0]
        elif path == "/healthz" and not self._is_ready():
            status, text = 503, "still loading the map"
        body = f"{text}\n".encode()
        writer.write(
            f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n"
            f"Connection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()

    def _is_ready(self) -> bool:
        since = asyncio.get_running_loop().time() - self._began
        late = since < float(self._env.get("READY_AFTER") or 0)
        return not self._env.get("NEVER_READY") and not late
