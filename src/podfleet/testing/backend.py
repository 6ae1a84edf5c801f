"""A backend in a process of its own: to be restarted, or killed between two of its writes.

The process is given an `Order`, allocates a server as that says, and prints what clients dial.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any, Protocol

from attrs import asdict, frozen

from podfleet.model import GameServer
from podfleet.sync import Fleet

__all__ = ["Order", "describe", "main", "start"]


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


def start(order: Order) -> subprocess.Popen[str]:
    """Start such a backend; its standard output is the answer, once it has ended."""
    told = json.dumps({"order": asdict(order), "path": sys.path})
    return subprocess.Popen(  # noqa: S603 (this very interpreter, and this module)
        [sys.executable, "-c", f"from {__name__} import main; main()", told],
        stdout=subprocess.PIPE,
        text=True,
    )


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


def main() -> None:
    """Be that backend."""
    told = json.loads(sys.argv[1])
    sys.path[:] = told["path"]
    order = Order(**told["order"])
    kubeconfig = Path(order.kubeconfig)
    with _load(order).fleet(order.fleet, order.namespace, kubeconfig, order.image) as fleet:
        server = fleet.allocate(order.session, timeout=order.timeout)
        print(json.dumps(describe(server)))  # noqa: T201 (it is the answer)
