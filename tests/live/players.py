"""A backend under load, as a process that may be killed at any time and started again.

What it does it writes down before and after, so that it is known whatever becomes of it: its next
life goes on from there, as a real backend does from its own database.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from podfleet import AsyncFleet, Cluster, GameServer, GameServerTemplate, HeadlessDNS, Load, Port
from podfleet.fleet.tending import surplus, tender

__all__ = ["Line", "Said", "Script", "play", "read"]

_AT_ONCE = 4  # calls of each player
_HELD = 6  # sessions that a player has at most between its calls
_LEVELS = (30, 60, 15)  # free servers that are wanted
_LASTS = 4.0  # seconds for which one of these is
_SURPLUS = 1.0  # seconds for which a server has to be one too many: else a minute
_LEASE = 4.0  # seconds, of ten


class Said(StrEnum):
    """What a line says."""

    LIVES = "lives"
    """A life has begun, under this identity at the Lease."""

    ASKS = "asks"
    """It is going to allocate for this session."""

    GOT = "got"
    """The session has this server."""

    ENDS = "ends"
    """It is going to release the session's server."""

    LOST = "lost"
    """It was going to, but the session has not the server any more that it had."""

    ENDED = "ended"
    """The server is released."""


@frozen
class Line:
    """A line of a player's log.

    Args:
        at: Seconds, on the machine's clock.
        said: What it says.
        what: The session, or the identity.
        uid: The server's UID.
    """

    at: float
    said: Said
    what: str
    uid: str = ""


def read(log: Path) -> list[Line]:
    """Return what a player has written down; perhaps it was killed in the middle of a line."""
    text = log.read_text() if log.exists() else ""
    lines = (json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return [Line(at, Said(said), what, uid) for at, said, what, uid in lines]


@frozen
class Script:
    """What the players play.

    Args:
        namespace: Where.
        kubeconfig: How that is reached.
        image: The servers' image.
        crowd: What a template says for hundreds of servers to have room.
        logs: The folder of their logs.
        sessions: How many sessions each allocates for.
        began: When it began, on the machine's clock.
    """

    namespace: str
    kubeconfig: Path
    image: str
    crowd: dict[str, Any]
    logs: Path
    sessions: int
    began: float

    def template(self, version: int) -> GameServerTemplate:
        """Return the template of a version of the game."""
        ports = [Port("game", 7777, "TCPUDP")]
        env = {"VERSION": str(version)}
        pod = {"spec": {"terminationGracePeriodSeconds": 2}}
        return GameServerTemplate(image=self.image, ports=ports, env=env, pod=pod, **self.crowd)

    def settings(self, version: int, **changes: Any) -> dict[str, Any]:
        """Return what a fleet is made with."""
        return {
            "template": self.template(version),
            "exposure": HeadlessDNS(),
            "namespace": self.namespace,
            "cluster": Cluster(kubeconfig=self.kubeconfig),
            "ready": self.wanted,
            **changes,
        }

    def wanted(self, load: Load) -> int:
        """Be a policy that goes up and down."""
        return _LEVELS[int((time.monotonic() - self.began) / _LASTS) % len(_LEVELS)]

    def log(self, number: int) -> Path:
        """Return a player's log."""
        return self.logs / f"{number}.log"


def play(number: int, script: Script) -> None:
    """Be a player, from where its last life ended."""
    surplus._LASTS = _SURPLUS
    tender._LASTS, tender._RENEW = _LEASE, _LEASE / 2
    asyncio.run(_Player(number, script).play())


@define(eq=False)
class _Player:
    number: int
    script: Script
    chance: random.Random = field(factory=random.Random)
    held: dict[str, GameServer] = field(factory=dict)

    async def play(self) -> None:
        lines = read(self.script.log(self.number))
        asked = {line.what for line in lines if line.said is Said.ASKS}
        over = {line.what for line in lines if line.said is Said.ENDED}
        got = {line.what: line.uid for line in lines if line.said is Said.GOT}
        ending = {line.what for line in lines if line.said is Said.ENDS} - over
        with self._log() as say:
            todo = [one for one in self._sessions() if one not in asked]
            for version, sessions in self._deploys(todo):
                async with AsyncFleet("arena", **self.script.settings(version)) as fleet:
                    upkeep = await fleet.here().upkeep()
                    say(Said.LIVES, upkeep._tender._identity)
                    for session in sorted(asked - over):
                        await self._find(fleet, session, got, ending, say)
                    asked = set()
                    while sessions:
                        now, sessions = sessions[:_AT_ONCE], sessions[_AT_ONCE:]
                        await _all(self._one(fleet, session, say) for session in now)

    def _sessions(self) -> list[str]:
        return [f"{self.number}-{count}" for count in range(self.script.sessions)]

    def _deploys(self, todo: list[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield each version of the game, and the sessions that are played on it."""
        third = self.script.sessions // 3
        for version in (1, 2, 3):
            upto = [self.script.sessions, 2 * third, third][-version]
            left = [one for one in todo if int(one.partition("-")[2]) < upto]
            todo = todo[len(left) :]
            if left or version == 3:
                yield version, left

    async def _find(
        self,
        fleet: AsyncFleet,
        session: str,
        got: dict[str, str],
        ending: set[str],
        say: Callable[..., None],
    ) -> None:
        """Go on with a session of a former life."""
        server = await fleet.find(session)
        if session in ending:
            if server is not None:
                await server.release()
            say(Said.ENDED, session)
            return
        if session in got and (server is None or server.uid != got[session]):
            say(Said.LOST, session, got[session])
            return
        if server is None:
            server = await fleet.allocate(session, timeout=120)
        if session not in got:
            say(Said.GOT, session, server.uid)
        self.held[session] = server

    async def _one(self, fleet: AsyncFleet, session: str, say: Callable[..., None]) -> None:
        say(Said.ASKS, session)
        self.held[session] = server = await fleet.allocate(session, timeout=120)
        say(Said.GOT, session, server.uid)
        while len(self.held) > _HELD or (self.held and self.chance.random() < 0.3):
            ended = self.chance.choice(sorted(self.held))
            before = self.held.pop(ended)
            now = await fleet.find(ended)
            if now is None or now.uid != before.uid:
                say(Said.LOST, ended, before.uid)
                continue
            say(Said.ENDS, ended, before.uid)
            await fleet.release(before)
            say(Said.ENDED, ended, before.uid)

    def _log(self) -> Any:
        return _Log(self.script.log(self.number))


class _Log:
    """Writes a line at once, and whole: what was written before a SIGKILL is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Callable[..., None]:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return self._say

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def _say(self, said: Said, what: str, uid: str = "") -> None:
        line = json.dumps([time.monotonic(), said.value, what, uid]) + "\n"
        os.write(self._file, line.encode())


async def _all(works: Iterator[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)
