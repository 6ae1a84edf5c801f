"""The operations of the matrix: every public call, and the command's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from podfleet import AllocationTimeout, GameServer, WaitTimeout
from tests.live.matrix import Cell, Operation, Scene

__all__ = ["OPERATIONS"]


async def _stop(cell: Cell) -> object:
    await cell.fleet.stop()
    return None


def _allocation(session: str | None = None) -> Callable[[Cell], Awaitable[object]]:
    return lambda cell: cell.fleet.allocate(session, timeout=cell.timeout)


def _server(cell: Cell) -> GameServer:
    assert cell.server is not None
    return cell.server


_MATCH = ("allocated match-1",)
_STOP = 10.0  # seconds, if what was begun cannot be cleaned up

OPERATIONS: dict[str, Operation] = {
    one.name: one
    for one in (
        Operation(
            name="allocate, cold",
            act=_allocation(),
            done=("allocated",),
            writes=True,
            timed_out=AllocationTimeout,
        ),
        Operation(
            name="allocate, cold, for a session",
            act=_allocation("match-1"),
            done=_MATCH,
            late=(_MATCH,),
            writes=True,
            timed_out=AllocationTimeout,
        ),
        Operation(
            name="allocate, warm",
            act=_allocation(),
            scene=Scene.FREE,
            done=("allocated",),
            late=((),),
            writes=True,
            timed_out=AllocationTimeout,
        ),
        Operation(
            name="allocate, warm, for a session",
            act=_allocation("match-1"),
            scene=Scene.FREE,
            done=_MATCH,
            late=(_MATCH,),
            writes=True,
            timed_out=AllocationTimeout,
        ),
        Operation(
            name="allocate, of a reservation",
            act=lambda cell: cell.fleet.allocate(
                "match-1", reservation=_server(cell), timeout=cell.timeout
            ),
            scene=Scene.RESERVED,
            done=_MATCH,
            late=(_MATCH,),
            writes=True,
            timed_out=AllocationTimeout,
        ),
        Operation(
            name="reserve",
            act=lambda cell: cell.fleet.reserve(600, timeout=cell.timeout),
            scene=Scene.FREE,
            done=("reserved",),
            late=((),),
            writes=True,
            timed_out=AllocationTimeout,
        ),
        Operation(
            name="join",
            act=lambda cell: cell.fleet.join("match-1", slots=2),
            scene=Scene.SHARED,
            done=("allocated match-1:6",),
            late=(("allocated match-1:6",),),
            writes=True,
        ),
        Operation(
            name="leave",
            act=lambda cell: cell.fleet.leave("match-1"),
            scene=Scene.SHARED,
            done=("free",),
            late=(("free",),),
            writes=True,
        ),
        Operation(
            name="find",
            act=lambda cell: cell.fleet.find("match-1"),
            scene=Scene.ALLOCATED,
            done=_MATCH,
        ),
        Operation(
            name="get",
            act=lambda cell: cell.fleet.get(_server(cell).name),
            scene=Scene.ALLOCATED,
            done=_MATCH,
            asks=None,
        ),
        Operation(
            name="servers",
            act=lambda cell: cell.fleet.servers(),
            scene=Scene.ALLOCATED,
            done=_MATCH,
            asks=False,
            reads=True,
        ),
        Operation(
            name="release",
            act=lambda cell: cell.fleet.release(_server(cell)),
            scene=Scene.ALLOCATED,
            done=(),
            late=((),),
            again=True,
            writes=True,
        ),
        Operation(
            name="release, recycled",
            act=lambda cell: cell.fleet.release(_server(cell), recycle=True),
            scene=Scene.ALLOCATED,
            done=("recycling",),
            late=(("recycling",),),
            again=True,
            writes=True,
        ),
        Operation(
            name="drain",
            act=lambda cell: cell.fleet.drain(cell.timeout),
            scene=Scene.FREE,
            done=(),
            timed_out=WaitTimeout,
            late=((),),
            writes=True,
        ),
        Operation(
            name="scale",
            act=lambda cell: cell.fleet.scale(1, timeout=cell.timeout),
            scene=Scene.SET,
            done=("free",),
            timed_out=WaitTimeout,
            late=(("free",),),
            writes=True,
        ),
        Operation(
            name="preflight",
            act=lambda cell: cell.fleet.preflight(),
            scene=Scene.FREE,
            done=("free",),
            starts=True,
        ),
        Operation(
            name="start",
            act=lambda cell: cell.fleet.start(),
            scene=Scene.FREE,
            done=("free",),
            begins=True,
            starts=True,
        ),
        Operation(name="stop", act=_stop, scene=Scene.FREE, done=("free",), asks=False),
        Operation(
            name="`podfleet ls`",
            act=lambda cell: cell.command("ls"),
            scene=Scene.ALLOCATED,
            done=_MATCH,
            starts=True,
        ),
        Operation(
            name="`podfleet preflight`",
            act=lambda cell: cell.command("preflight"),
            scene=Scene.FREE,
            done=("free",),
            starts=True,
        ),
        Operation(
            name="`podfleet allocate`",
            act=lambda cell: cell.command("allocate", "--timeout", str(cell.timeout)),
            scene=Scene.FREE,
            done=("allocated",),
            late=((),),
            writes=True,
            timed_out=AllocationTimeout,
            begins=True,
            stops=_STOP,
            starts=True,
        ),
        Operation(
            name="`podfleet release`",
            act=lambda cell: cell.command("release", _server(cell).name),
            scene=Scene.ALLOCATED,
            done=(),
            late=((),),
            again=True,
            writes=True,
            begins=True,
            stops=_STOP,
            starts=True,
        ),
    )
}
