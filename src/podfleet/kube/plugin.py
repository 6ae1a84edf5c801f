"""Credential plugins: programs that a kubeconfig names (``users[].user.exec``).

Kubernetes: "Authenticating", client-go credential plugins; client-go,
plugin/pkg/client/auth/exec/exec.go.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from attrs import frozen

from podfleet.kube.kubeconfig import Entry
from podfleet.model.manifest import parse_time

__all__ = ["Credential", "ask"]

_LIMIT = 30.0  # seconds for a plugin
_END = 1.0  # seconds for one that was killed to be gone
_MOST = 2**20  # bytes that a plugin may print
_WORDS = 1000  # characters of what it says of itself, the last
_CHUNK = 2**16  # bytes
_GROUP = "client.authentication.k8s.io"
_VERSIONS = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")

# A plugin may print what it was asked for where it should not.
_SECRETS = re.compile(r"eyJ[\w-]+\.[\w-]+(\.[\w-]*)?|(?<=[Bb]earer )\S+|[\w+/=-]{64,}")


@frozen
class Credential:
    """What a plugin answered.

    Args:
        token: A bearer token.
        certificate: A client certificate, in PEM.
        key: Its key.
        expires: When that ends, in seconds since 1970.
    """

    token: str | None
    certificate: bytes | None
    key: bytes | None
    expires: float

    def __repr__(self) -> str:
        """Show no secret."""
        return "Credential(...)"


async def ask(user: Entry, cluster: Mapping[str, Any]) -> Credential:
    """Run the plugin of a kubeconfig's user; it is killed if it takes too long, or if cancelled.

    Args:
        user: The user.
        cluster: What the plugin is to know of the cluster, if it asks for that.

    Raises:
        ConfigurationError: There is no such plugin, or it failed: with its own words.
    """
    config = user.values["exec"]
    if not isinstance(config, dict):
        raise user.wrong("has an exec that is no mapping")
    plugin = Entry("plugin of user", user.name, config, user.file)
    version = plugin.text("apiVersion")
    if version not in _VERSIONS:
        raise plugin.wrong(f"has the apiVersion {version!r}: use one of {', '.join(_VERSIONS)}")
    if plugin.text("interactiveMode") == "Always":
        raise plugin.wrong("asks on a terminal (interactiveMode: Always): there is none")
    spec: dict[str, Any] = {"interactive": False}
    if plugin.flag("provideClusterInfo"):
        spec["cluster"] = dict(cluster)
    told = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    environment = {**os.environ, **_environment(plugin), "KUBERNETES_EXEC_INFO": json.dumps(told)}
    code, printed, words = await _run(plugin, environment)
    if code != 0:
        raise plugin.wrong(f"ended with exit code {code}{_quoted(words)}")
    return _credential(plugin, version, printed)


def _environment(plugin: Entry) -> dict[str, str]:
    found = {}
    for one in plugin.values.get("env") or []:
        if not isinstance(one, dict) or not {str} == set(
            map(type, (one.get("name"), one.get("value")))
        ):
            raise plugin.wrong("has an env that is not a list of name and value, both texts")
        found[one["name"]] = one["value"]
    return found


def _command(plugin: Entry) -> list[str]:
    """Return what to run: a relative path begins at the kubeconfig's folder, as for kubectl."""
    command = plugin.text("command")
    if command is None:
        raise plugin.wrong("has no command")
    args = plugin.values.get("args") or []
    if not isinstance(args, list) or not all(isinstance(one, str) for one in args):
        raise plugin.wrong("has args that are not a list of texts")
    if os.path.dirname(command):
        return [os.path.join(plugin.folder, command), *args]
    return [shutil.which(command) or command, *args]


async def _run(plugin: Entry, environment: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    """Return the plugin's exit code, what it printed, and what it said of itself."""
    command = _command(plugin)
    try:
        process = await _started(command, environment)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = plugin.text("installHint")
        raise plugin.wrong(
            f"cannot be run: {command[0]}: {reason}{'' if hint is None else f'. {hint}'}"
        ) from error
    said = bytearray()
    printing = asyncio.ensure_future(_printed(plugin, process))
    saying = asyncio.ensure_future(_said(process, said))
    try:
        async with asyncio.timeout(_LIMIT):
            printed, _ = await asyncio.gather(printing, saying)
            code = await process.wait()
    except TimeoutError:
        raise plugin.wrong(
            f"did not end within {_LIMIT:g} s, and was killed{_quoted(bytes(said))}"
        ) from None
    finally:
        for reading in (printing, saying):  # where one fails, the other reads on
            reading.cancel()
        await asyncio.gather(printing, saying, return_exceptions=True)
        await _end(process)
    return code, printed, bytes(said)


async def _started(command: list[str], environment: Mapping[str, str]) -> Process:
    """Start a program; if this is cancelled, the program has been ended."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,  # so that what it starts itself can be ended with it
        )
    )
    try:
        # asyncio would end the program alone, and wait for all that has its pipes.
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError, ValueError):
            await _end(await starting)
        raise


async def _printed(plugin: Entry, process: Process) -> bytes:
    assert process.stdout is not None, "it is a pipe"
    printed = bytearray()
    while chunk := await process.stdout.read(_CHUNK):
        printed += chunk
        if len(printed) > _MOST:
            raise plugin.wrong(f"printed more than {_MOST} bytes")
    return bytes(printed)


async def _said(process: Process, said: bytearray) -> None:
    assert process.stderr is not None, "it is a pipe"
    while chunk := await process.stderr.read(_CHUNK):
        said += chunk
        del said[: -4 * _WORDS]


async def _end(process: Process) -> None:
    """End it, and what it has started, unless all of that has ended; return when it has."""
    assert process.stdout is not None, "it is a pipe"
    assert process.stderr is not None, "it is a pipe"
    pipes = (process.stdout, process.stderr)
    if process.returncode is not None and all(pipe.at_eof() for pipe in pipes):
        return
    with suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # the group outlives the program that led it
        else:
            process.kill()
    with suppress(TimeoutError):
        async with asyncio.timeout(_END):
            # A pipe that is not read to its end stays open: asyncio stops reading a full one.
            await asyncio.gather(process.wait(), *map(_drain, pipes))


async def _drain(pipe: asyncio.StreamReader) -> None:
    while await pipe.read(_CHUNK):
        pass


def _quoted(said: bytes) -> str:
    words = " ".join(said.decode(errors="replace").split())
    if not words:
        return ", and said nothing"
    shown = _SECRETS.sub("[...]", words)
    return f": {shown if len(shown) <= _WORDS else '... ' + shown[-_WORDS:]}"


def _credential(plugin: Entry, version: str, printed: bytes) -> Credential:
    try:
        answer = json.loads(printed)
    except (ValueError, RecursionError):
        # Not what it printed: that may be a secret.
        raise plugin.wrong("printed no JSON" if printed.strip() else "printed nothing") from None
    if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
        raise plugin.wrong("printed no ExecCredential")
    if answer.get("apiVersion") != version:
        raise plugin.wrong(
            f"printed an ExecCredential of {str(answer.get('apiVersion'))[:80]!r}, not of {version}"
        )
    status = answer.get("status")
    if not isinstance(status, dict):
        raise plugin.wrong("printed an ExecCredential without a status")
    names = ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
    for name in names:
        if not isinstance(status.get(name), str | None):
            raise plugin.wrong(f"printed an ExecCredential whose {name} is no text")
    token, certificate, key, ends = (status.get(name) or None for name in names)
    if token is None and certificate is None:
        raise plugin.wrong("printed an ExecCredential with neither a token nor a certificate")
    if (certificate is None) != (key is None):
        raise plugin.wrong("printed a client certificate without its key, or the reverse")
    try:
        moment = parse_time(ends)
    except ValueError:
        raise plugin.wrong("printed an expirationTimestamp that is no time") from None
    return Credential(
        token.strip() if token else None,
        certificate.encode() if certificate else None,
        key.encode() if key else None,
        math.inf if moment is None else moment.timestamp(),
    )
