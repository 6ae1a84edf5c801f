"""Faults, and how an operation is to end under each: the rules of the matrix.

`expected` decides it from what an operation asks of the API server, so that a new operation or a
new fault brings a whole row or column. `test_matrix` plays every cell with the operations of
`matrix_operations`, and the table of docs/faults.md is written from here:
``python -m tests.docs.faults``.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any

from attrs import evolve, frozen

from podfleet import (
    AdmissionRefused,
    AsyncFleet,
    Conflict,
    Forbidden,
    GameServer,
    NotFound,
    PodfleetError,
    ServerError,
    TransportError,
    Unauthorized,
)
from podfleet.testing import Fault

__all__ = [
    "FAILURES",
    "Cell",
    "Failure",
    "Kind",
    "Operation",
    "Outcome",
    "Scene",
    "expected",
]

Outcome = type[PodfleetError] | None
"""An error; or ``None``, a result."""


class Scene(Enum):
    """What there is before an operation."""

    NOTHING = ()
    FREE = ("free",)
    RESERVED = ("reserved",)
    ALLOCATED = ("allocated match-1",)
    SHARED = ("allocated match-1:4",)
    SET = ("free", "free")


@frozen
class Cell:
    """Where an operation is played.

    Args:
        fleet: The fleet; it runs, unless the operation starts it.
        server: The server of the scene, if there is one.
        timeout: Seconds that the operation may take.
        command: Runs a command of ``podfleet`` on that fleet.
    """

    fleet: AsyncFleet
    server: GameServer | None
    timeout: float
    command: Callable[..., Awaitable[object]]


@frozen(kw_only=True)
class Operation:
    """A public operation.

    Args:
        name: As the table shows it.
        act: Carries it out.
        scene: What there is before it.
        done: The servers that there are after it.
        late: Further states of the servers that an error may leave of which it is not known
            whether the API server carried the request out.
        writes: Whether it writes.
        asks: Whether it asks the API server anything; ``None`` if that depends on what its watches
            show and what it has just read.
        timed_out: How it ends when its time is up.
        starts: Whether the fleet is not started before it.
        begins: Whether it starts the fleet: that is tried again for as long as there is time.
        again: Whether it looks at its server after each conflict and tries again, for as long as
            there is time.
        stops: Seconds more, in which it stops the fleet.
        reads: Whether it needs a started fleet, though it asks nothing.
    """

    name: str
    act: Callable[[Cell], Awaitable[object]]
    scene: Scene = Scene.NOTHING
    done: tuple[str, ...]
    late: tuple[tuple[str, ...], ...] = ()
    writes: bool = False
    asks: bool | None = True
    timed_out: type[PodfleetError] = TransportError
    starts: bool = False
    begins: bool = False
    again: bool = False
    stops: float = 0.0
    reads: bool = False


class Kind(Enum):
    """What a fault does to an operation."""

    PASSES = "it is got over"
    REFUSES = "whatever is asked is refused"
    REFUSES_WRITES = "writes are refused"
    SILENT = "nothing is answered in time"
    UNKNOWN = "who asks is not known: credentials cannot be loaded"


@frozen(kw_only=True)
class Failure:
    """A fault, for as long as an operation takes.

    Args:
        name: As the table shows it.
        kind: What it does to an operation.
        faults: What the proxy before the API server does to requests.
        error: What a refusal raises.
        seconds: The timeout of the operations under it.
        expires: Whether open watches are told that their version is too old.
        poisons: Whether one more server is there, which cannot be read.
        late: Seconds after an operation until all that it asked has been carried out.
    """

    name: str
    kind: Kind = Kind.PASSES
    faults: Sequence[Fault] = ()
    error: type[PodfleetError] | None = None
    seconds: float = 10.0
    expires: bool = False
    poisons: bool = False
    late: float = 0.0

    def copies(self) -> list[Fault]:
        """Return the faults, not yet used up."""
        return [evolve(fault) for fault in self.faults]


def expected(operation: Operation, failure: Failure) -> tuple[Outcome, ...]:
    """Return how an operation may end under a fault: in one way, unless that is not determined."""
    if failure.kind is Kind.UNKNOWN:  # the fleet is not started before
        return (
            (None,) if operation.asks is False and not operation.reads else (operation.timed_out,)
        )
    if operation.asks is False or failure.kind is Kind.PASSES:
        return (None,)
    if failure.kind is Kind.REFUSES_WRITES and not operation.writes:
        return (None,)
    in_vain = (
        failure.kind is Kind.SILENT
        or (operation.begins and failure.error is ServerError)
        or (operation.again and failure.error is Conflict)
    )
    error = operation.timed_out if in_vain else failure.error
    return (None, error) if operation.asks is None else (error,)


def _all(**what: Any) -> tuple[Fault, ...]:
    return (Fault(".*", "", times=math.inf, **what),)


def _once(**what: Any) -> tuple[Fault, ...]:
    # Not of what the fleet does in the background: it renews its Lease, and watches.
    return (Fault(".*", r"/namespaces/(?!.*(-tender$|watch=))", **what),)


def _writes(times: float = math.inf, **what: Any) -> tuple[Fault, ...]:
    """Return the fault of every write of an object that podfleet keeps."""
    return (Fault("POST|PATCH|PUT|DELETE", r"/(pods|leases|services|statefulsets)", times, **what),)


_DENIED = 'admission webhook "ports.example.com" denied the request: no hostPorts'
_NO_RIGHT = (
    'pods is forbidden: User "system:serviceaccount:games:backend" cannot create resource "pods" '
    'in API group "" in the namespace "games"'
)

FAILURES: dict[str, Failure] = {
    one.name: one
    for one in (
        Failure(name="401, once", faults=_once(status=401)),
        Failure(
            name="401, for good",
            kind=Kind.REFUSES,
            error=Unauthorized,
            faults=_all(status=401),
        ),
        Failure(name="a credential plugin that hangs", kind=Kind.UNKNOWN, seconds=2.0),
        Failure(
            name="403, a missing right",
            kind=Kind.REFUSES,
            error=Forbidden,
            faults=_all(status=403, message=_NO_RIGHT),
        ),
        Failure(
            name="403, a webhook",
            kind=Kind.REFUSES_WRITES,
            error=AdmissionRefused,
            faults=_writes(status=403, message=_DENIED),
        ),
        Failure(
            name="404, of each write",
            kind=Kind.REFUSES_WRITES,
            error=NotFound,
            faults=_writes(status=404),
        ),
        Failure(
            name="409, for a minute",
            kind=Kind.REFUSES_WRITES,
            error=Conflict,
            faults=_writes(status=409),
        ),
        Failure(
            name="410",
            faults=(Fault("GET", "watch=", status=410),),
            expires=True,
        ),
        Failure(name="429, Retry-After: 1", faults=_once(status=429, headers={"Retry-After": "1"})),
        Failure(
            name="500, for good",
            kind=Kind.REFUSES,
            error=ServerError,
            faults=_all(status=500),
        ),
        Failure(name="silence", kind=Kind.SILENT, faults=_all(silent=True), seconds=2.0),
        Failure(name="cut before it is carried out", faults=_once()),
        Failure(name="cut before the answer", faults=_once(lose_reply=True)),
        Failure(name="each write arrives twice", faults=_writes(duplicate=True)),
        Failure(
            name="10 s late", kind=Kind.SILENT, faults=_all(delay=10.0), seconds=2.0, late=10.0
        ),
        Failure(name="an object that cannot be read", poisons=True),
    )
}
