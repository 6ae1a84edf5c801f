"""Probes: how the kubelet asks a container, and what it makes of the answers.

The words are those of Kubernetes' pkg/kubelet/prober and pkg/probe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
from attrs import frozen

from podfleet.local.clock import Clock
from podfleet.model import Manifest

__all__ = ["Prober"]

_SOON, _LOOK = 0.05, 1.0  # seconds

Execute = Callable[[Sequence[str], float], Awaitable[tuple[int | None, str]]]
"""Runs a command like the container; gives its exit code (``None``: too slow) and its words."""


@frozen
class Prober:
    """Asks one container.

    Args:
        spec: The container.
        address: Its Pod's address.
        locate: Returns where a port of it is really to be found.
        clock: For the periods.
        session: For HTTP.
        execute: For commands.
    """

    spec: Manifest
    address: str
    locate: Callable[[str, int], tuple[str, int]]
    clock: Clock
    session: aiohttp.ClientSession
    execute: Execute

    async def watch(
        self, kind: str, told: Callable[[bool], None], failed: Callable[[str], None]
    ) -> None:
        """Ask again and again.

        Args:
            kind: ``readiness``, ``liveness`` or ``startup``.
            told: Called with whether it passes, whenever it is sure of that.
            failed: Called with the words of every failure.
        """
        probe = self.spec[f"{kind}Probe"]
        period = float(probe["periodSeconds"])
        # The kubelet asks for readiness as soon as a container runs, and whenever it looks at the
        # Pod, about every second; for the others first when the period is over.
        first = _SOON if kind == "readiness" else period
        await self.clock.sleep(probe.get("initialDelaySeconds") or first)
        pause = min(period, _LOOK) if kind == "readiness" else period
        passed = missed = 0
        while True:
            passes, words = await self._ask(probe)
            passed, missed = (passed + 1, 0) if passes else (0, missed + 1)
            if not passes:
                failed(words)
            if passed >= probe["successThreshold"]:
                pause = period
                told(True)
            elif missed >= probe["failureThreshold"]:
                told(False)
            await self.clock.sleep(pause)

    async def _ask(self, probe: Manifest) -> tuple[bool, str]:
        timeout = float(probe["timeoutSeconds"])
        if probe.get("exec"):
            return await self._command(probe["exec"].get("command") or [], timeout)
        if probe.get("tcpSocket"):
            asked = probe["tcpSocket"]
            return await self._tcp(asked.get("host") or self.address, asked["port"], timeout)
        if probe.get("httpGet"):
            return await self._http(probe["httpGet"], timeout)
        return False, "podfleet's embedded cluster has no gRPC probes: use tcpSocket"

    async def _command(self, command: Sequence[str], timeout: float) -> tuple[bool, str]:
        code, words = await self.execute(command, timeout)
        if code is None:
            return False, f"command timed out: {' '.join(command)!r} timed out after {timeout:g}s"
        return code == 0, words

    async def _tcp(self, host: str, port: int | str, timeout: float) -> tuple[bool, str]:
        where = f"{host}:{self._number(port)}"
        try:
            async with asyncio.timeout(timeout):
                found = self.locate(host, self._number(port))
                _, writer = await asyncio.open_connection(*found)
            writer.close()
        except TimeoutError:
            return False, f"dial tcp {where}: i/o timeout"
        except OSError:
            return False, f"dial tcp {where}: connect: connection refused"
        return True, ""

    async def _http(self, asked: Manifest, timeout: float) -> tuple[bool, str]:
        host, port = self.locate(asked.get("host") or self.address, self._number(asked["port"]))
        where = f"{host}:{port}"
        url = f"{asked['scheme'].lower()}://{where}{asked['path']}"
        headers = {one["name"]: one["value"] for one in asked.get("httpHeaders") or []}
        try:
            async with self.session.get(
                url,
                headers={"User-Agent": "kube-probe/1.37", **headers},
                timeout=aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
                ssl=False,
            ) as answer:
                if answer.status < 400:
                    return True, ""
                return False, f"HTTP probe failed with statuscode: {answer.status}"
        except TimeoutError:
            words = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        except aiohttp.ClientConnectorError:
            words = f"dial tcp {where}: connect: connection refused"
        except (aiohttp.ClientError, OSError) as error:
            words = str(error) or "EOF"
        return False, f'Get "{url}": {words}'

    def _number(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        named = (
            one["containerPort"] for one in self.spec.get("ports") or [] if one.get("name") == port
        )
        return int(next(named, 0) or port)
