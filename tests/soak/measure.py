"""What a process has: memory, objects, tasks, connections; and podfleet's own tables."""

import asyncio
import gc
import os
import sys
from collections import OrderedDict, deque
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from attrs import frozen

__all__ = ["Footprint", "footprint", "resident", "tables"]

_MAPPINGS = (dict, OrderedDict, WeakKeyDictionary)
_KINDS = (*_MAPPINGS, set, list, deque, WeakSet)
_PAGE = os.sysconf("SC_PAGE_SIZE")


@frozen
class Footprint:
    """What a process has at one moment.

    Args:
        memory: Resident, in MB.
        blocks: Pieces of memory that Python has given out, in thousands: exact, where the
            resident memory goes by what the allocator keeps.
        tasks: Of asyncio.
        connections: Open TCP connections.
        pods: Versions of Pods, wherever they are held.
        tables: Entries in the containers of podfleet's objects.
    """

    memory: float
    blocks: float
    tasks: int
    connections: int
    pods: int
    tables: int


def footprint(roots: list[Any]) -> Footprint:
    """Measure this process.

    Args:
        roots: The objects from which podfleet's tables are reached.
    """
    gc.collect()
    return Footprint(
        memory=resident(),
        blocks=sys.getallocatedblocks() / 1000,
        tasks=len(asyncio.all_tasks()),
        connections=_connections(),
        pods=_pods(),
        tables=sum(tables(roots).values()),
    )


def resident() -> float:
    """Return the MB of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 2**20


def _connections() -> int:
    """Return how many of this process's file descriptors are TCP connections."""
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    sockets = {f"socket:[{line.split()[9]}]" for line in lines}
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # of this very look
            found += os.readlink(descriptor) in sockets
    return found


def _pods() -> int:
    """Return how many Pods' specs there are that name a node."""
    wanted = {"containers", "nodeName"}
    return sum(isinstance(one, dict) and wanted <= one.keys() for one in gc.get_objects())


def tables(roots: list[Any]) -> dict[str, int]:
    """Return how many entries each container has that podfleet's objects hold, by its place."""
    found: dict[str, int] = {}
    seen: set[int] = set()
    left = list(roots)
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        for name, value in _attributes(one):
            where = f"{type(one).__name__}.{name}"
            if isinstance(value, asyncio.Queue):
                found[where] = found.get(where, 0) + value.qsize()
            elif isinstance(value, _KINDS):
                found[where] = found.get(where, 0) + len(value)
                items = list(value.values() if isinstance(value, _MAPPINGS) else value)
                left += [item for item in items if _is_ours(item)]
            elif _is_ours(value):
                left.append(value)
    return found


def _attributes(one: Any) -> list[tuple[str, Any]]:
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    named = {name: getattr(one, name, None) for name in slots if name != "__weakref__"}
    return list({**named, **getattr(one, "__dict__", {})}.items())


def _is_ours(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "podfleet"
