"""A backend in a process of its own: to be restarted, or killed between two of its writes.

The process is given an `Order`, allocates a server as that says, and tells what clients dial.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from importlib import util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

from podfleet.model import GameServer
from podfleet.sync import Fleet

__all__ = ["BackendProcess", "Order", "describe"]

_FORKS = "forkserver" in multiprocessing.get_all_start_methods()
_CONTEXT: Any = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
# Forked from a process that has imported all this already, one starts within milliseconds.
if _FORKS:
    _CONTEXT.set_forkserver_preload(["pytest", __name__])


class _MakesFleets(Protocol):
    def fleet(self, name: str, namespace: str, kubeconfig: Path, image: str) -> Fleet: ...


@frozen
class Order:
    """What such a backend is to do.

    Args:
        file: The file that defines a test class with a method ``fleet``.
        name: The class's name in it.
        fleet: The fleet's name.
        namespace: The fleet's namespace.
        kubeconfig: The backend's.
        image: The servers' image.
        session: The session to allocate for.
        timeout: Seconds.
    """

    file: str
    name: str
    fleet: str
    namespace: str
    kubeconfig: str
    image: str
    session: str
    timeout: float = 60.0


class BackendProcess:
    """Such a backend, which begins at once.

    Args:
        order: What it is to do.
    """

    def __init__(self, order: Order) -> None:
        self._answer, answers = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_play, args=(order, answers), daemon=True)
        self._process.start()
        answers.close()

    def kill(self) -> None:
        """End it, by SIGKILL."""
        self._process.kill()

    def wait(self, timeout: float) -> dict[str, Any] | None:
        """Return what clients dial; ``None`` if it was killed before.

        Args:
            timeout: Seconds.

        Raises:
            RuntimeError: It failed by itself, or is too slow; what happened is on its stderr.
        """
        self._process.join(timeout)
        code = self._process.exitcode
        try:
            if code == 0:
                told: dict[str, Any] = self._answer.recv()
                return told
            if code is not None and code < 0:
                return None
            self._process.kill()
            raise RuntimeError(f"the backend's process ended with {code} within {timeout:g} s")
        finally:
            self._answer.close()


def describe(server: GameServer) -> dict[str, Any]:
    """Return a server's name and endpoints as JSON has them."""
    endpoints = [
        [str(one), one.name, one.protocol.value, one.path, dict(one.headers), one.address, one.srv]
        for one in server.endpoints
    ]
    return {"name": server.name, "endpoints": endpoints}


def _load(order: Order) -> _MakesFleets:
    spec = util.spec_from_file_location("podfleet_conformance_test", order.file)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    made: Callable[[], _MakesFleets] = getattr(module, order.name)
    return made()


def _play(order: Order, answers: Connection) -> None:
    """Be that backend."""
    kubeconfig = Path(order.kubeconfig)
    with _load(order).fleet(order.fleet, order.namespace, kubeconfig, order.image) as fleet:
        answers.send(describe(fleet.allocate(order.session, timeout=order.timeout)))
