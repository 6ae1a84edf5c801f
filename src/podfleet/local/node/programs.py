"""`Programs`: starts what a container's image stands for: a process, or a coroutine in this one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from attrs import define, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.local.node import agent
from podfleet.model.plain import check_text

__all__ = ["Exit", "Image", "Images", "Program", "Programs", "ServerContext", "StartError"]

_INHERITED = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONPATH",
    "SYSTEMROOT",
    "TEMP",
    "TMPDIR",
    "TZ",
)
"""What a process has of this one's environment: the rest may hold its secrets."""

_KILLED, _TERMINATED = 137, 143
_MOMENT = 10  # rounds of the loop


@frozen
class ServerContext:
    """What a server that runs in this process is given.

    Args:
        name: Its Pod's name.
        namespace: Its Pod's namespace.
        address: The address to listen on: its Pod's own.
        env: Its environment.
        log: Its log: what it prints to standard output in a container.
    """

    name: str
    namespace: str
    address: str
    env: Mapping[str, str]
    log: Path

    def where(self, port: int) -> tuple[str, int]:
        """Return the address and the port to listen on for a container's port."""
        return self.address, int(self.env.get(f"PODFLEET_PORT_{port}", port))

    def print(self, line: str) -> None:
        """Write a line to the container's log."""
        with self.log.open("a") as log:
            log.write(f"{line}\n")


InProcess: TypeAlias = Callable[[ServerContext], Awaitable[int | None]]
Image: TypeAlias = Sequence[str] | InProcess


class Images(dict[str, Image]):
    """What each image runs: a command, or a coroutine function.

    Example:
        >>> images = Images()
        >>> images["arena:1"] = ["python", "server.py"]
        >>> images["arena:2"] = "server.py"
        Traceback (most recent call last):
        podfleet.errors.ConfigurationError: LocalCluster.images['arena:2']: 'server.py': must be \
a list of words (["python", "server.py"]) or an ``async def`` that takes a ServerContext
    """

    def __setitem__(self, name: str, image: Image) -> None:
        check_text("LocalCluster.images", name, "an image's name must be a string")
        if not (asyncio.iscoroutinefunction(image) or _is_command(image)):
            raise ConfigurationError(
                f"LocalCluster.images[{name!r}]",
                image,
                'must be a list of words (["python", "server.py"]) or an ``async def`` that takes '
                "a ServerContext",
            )
        super().__setitem__(name, image)


def _is_command(image: object) -> bool:
    if isinstance(image, str) or not isinstance(image, Sequence) or not image:
        return False
    return all(isinstance(one, str) for one in image)


@frozen
class Exit:
    """How a container ended.

    Args:
        code: Its exit code; 128 and the signal's number for a signal.
        reason: ``Completed``, ``Error``, ``OOMKilled``.
    """

    code: int
    reason: str


class StartError(Exception):
    """A command that cannot be run."""


class Program(Protocol):
    """What runs in a container."""

    async def wait(self) -> Exit:
        """Return how it ended, when it has."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self, *, out_of_memory: bool = False) -> None:
        """End it at once."""


@define
class _Process:
    """A process, by way of the agent."""

    name: str
    send: Callable[[dict[str, Any]], None]
    started: asyncio.Future[int]
    ended: asyncio.Future[int]
    out_of_memory: bool = False

    async def wait(self) -> Exit:
        code = await asyncio.shield(self.ended)
        return _exit(code, out_of_memory=self.out_of_memory)

    def terminate(self) -> None:
        self.send({"do": "terminate", "id": self.name})

    def kill(self, *, out_of_memory: bool = False) -> None:
        self.out_of_memory = out_of_memory
        self.send({"do": "kill", "id": self.name})


@define
class _Task:
    """A coroutine. To be asked to end is to be cancelled, which it may catch."""

    context: ServerContext
    task: asyncio.Task[int | None]
    asked: int = 0
    out_of_memory: bool = False

    async def wait(self) -> Exit:
        await asyncio.wait({self.task})
        for _ in range(2):  # asyncio closes sockets in the loop's next rounds: a process has by now
            await asyncio.sleep(0)
        if self.task.cancelled():
            return _exit(self.asked, out_of_memory=self.out_of_memory)
        error = self.task.exception()
        if isinstance(error, MemoryError):
            return _exit(_KILLED, out_of_memory=True)
        if error is not None:
            self.context.print("".join(traceback.format_exception(error)).rstrip())
            return _exit(1)
        return _exit(self.task.result() or 0)

    def terminate(self) -> None:
        self.asked = self.asked or _TERMINATED
        self.task.cancel()

    def kill(self, *, out_of_memory: bool = False) -> None:
        self.asked, self.out_of_memory = _KILLED, out_of_memory
        self.task.cancel()


def _exit(code: int, *, out_of_memory: bool = False) -> Exit:
    if out_of_memory:
        return Exit(_KILLED, "OOMKilled")
    return Exit(code, "Error" if code else "Completed")


@define
class Programs:
    """Starts programs.

    Args:
        folder: The cluster's files; the agent removes it at the end.
    """

    folder: Path
    _agent: asyncio.subprocess.Process | None = None
    _known: dict[str, _Process] = field(factory=dict)
    _reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the agent."""
        self._agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", agent.__file__, str(self.folder)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def stop(self) -> None:
        """End everything, and wait for that."""
        if self._agent is None or self._reading is None:
            return
        assert self._agent.stdin is not None
        self._agent.stdin.close()
        await self._agent.wait()
        await self._reading

    async def process(
        self, argv: Sequence[str], env: Mapping[str, str], folder: str | None, log: Path
    ) -> Program:
        """Start a process.

        Args:
            argv: Its command.
            env: Its environment; a few variables of this process are added.
            folder: Where it runs; by default where this process does.
            log: The file for what it prints.

        Raises:
            StartError: It cannot be run.
        """
        loop = asyncio.get_running_loop()
        made = _Process(uuid.uuid4().hex, self._send, loop.create_future(), loop.create_future())
        self._known[made.name] = made
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._send(
            {
                "do": "start",
                "id": made.name,
                "argv": list(argv),
                "env": {**inherited, **env},
                "cwd": folder or os.getcwd(),
                "log": str(log),
            }
        )
        try:
            await asyncio.shield(made.started)
        except asyncio.CancelledError:
            made.kill()
            raise
        return made

    @staticmethod
    async def task(run: InProcess, context: ServerContext) -> Program:
        """Start a coroutine, and let it run for a moment, as a process has when it is noticed."""

        async def play() -> int | None:
            try:
                return await run(context)
            except SystemExit as error:  # it must not end the cluster's loop
                return error.code if isinstance(error.code, int) else int(error.code is not None)

        context.log.touch()
        started = _Task(context, asyncio.get_running_loop().create_task(play()))
        try:
            for _ in range(_MOMENT):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            started.kill()
            raise
        return started

    def _send(self, order: dict[str, Any]) -> None:
        assert self._agent is not None
        assert self._agent.stdin is not None
        if not self._agent.stdin.is_closing():
            self._agent.stdin.write(json.dumps(order).encode() + b"\n")

    async def _read(self) -> None:
        assert self._agent is not None
        assert self._agent.stdout is not None
        async for line in self._agent.stdout:
            told = json.loads(line)
            process = self._known[told["id"]]
            if "error" in told:
                del self._known[told["id"]]
                process.started.set_exception(StartError(told["error"]))
                process.started.exception()
            elif "pid" in told:
                process.started.set_result(told["pid"])
            else:
                del self._known[told["id"]]
                process.ended.set_result(told["code"])
