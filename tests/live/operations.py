"""What a fleet does to the cluster, one operation after the other, and what each leaves behind.

Each is carried out by a process of its own, which may be killed after any of its writes: see
`killing`. What is left then, after one look of another replica, is what there was before (``left``)
or what there would be without the kill (``done``), or one of the steps in ``between``.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from podfleet import (
    AllocationError,
    ByHost,
    Fleet,
    GameServerTemplate,
    HeadlessDNS,
    IstioRoute,
    NodePortPerPod,
    PortPool,
    ServerState,
    StatefulSet,
)
from podfleet.testing.cluster import eventually
from tests.live.scenes import left_behind, others_port, others_set
from tests.live.stage import ADDRESS, Operation, Stage

__all__ = ["CLAIMING", "ENDING", "OPERATIONS", "ROUTED", "SETS", "STARTING", "TENDING"]

_READY = ServerState.READY
_ENOUGH = 60.0  # seconds for one step
_LONG = 600.0  # seconds: as long as the test lasts


def _with(**settings: Any) -> Callable[[Stage], Fleet]:
    """Return what makes a fleet with these settings; a function of the stage stands for one."""

    def make(stage: Stage) -> Fleet:
        made = {key: value(stage) if callable(value) else value for key, value in settings.items()}
        return stage.fleet(**made)

    return make


def _in(
    replica: Callable[[Stage], Any], work: Callable[[Any], object]
) -> Callable[[Stage], object]:
    """Return what does some work in a replica that is started for it, and stopped."""

    def act(stage: Stage) -> None:
        with replica(stage) as fleet:
            work(fleet)

    return act


def _until_ready(count: int) -> Callable[[Fleet], object]:
    return lambda fleet: eventually(lambda: fleet.status().servers[_READY] == count, _ENOUGH)


def _warm(count: int = 1, **settings: Any) -> Callable[[Stage], object]:
    """Return what makes so many free servers."""
    return _in(_with(ready=count, **settings), _until_ready(count))


def _allocate(*sessions: str, **claim: Any) -> Callable[[Any], object]:
    def work(fleet: Any) -> None:
        for session in sessions or (None,):
            fleet.allocate(session, timeout=20, **claim)

    return work


def _twice(fleet: Fleet) -> None:
    fleet.allocate("match-1", reservation=fleet.reserve(_LONG, timeout=20), timeout=20)


def _in_vain(fleet: Fleet) -> None:
    with suppress(AllocationError):
        fleet.allocate("match-1", timeout=2)


def _give_back(fleet: Fleet) -> None:
    fleet.release(fleet.reserve(_LONG, timeout=20))


def _release(*, recycle: bool = False) -> Callable[[Any], object]:
    def work(fleet: Any) -> None:
        server = fleet.find("match-1")
        assert server is not None
        fleet.release(server, recycle=recycle)

    return work


def _gone(fleet: Fleet) -> None:
    eventually(lambda: not fleet.servers(), _ENOUGH)


def _rolled(fleet: Fleet) -> None:
    eventually(lambda: fleet.rollout_status().complete, _ENOUGH)


def _roll_back(fleet: Fleet) -> None:
    fleet.roll_out()
    _rolled(fleet)


def _hold(fleet: Fleet) -> None:
    fleet.pause_rollout()
    fleet.resume_rollout()


def _version(number: int) -> Callable[[Stage], GameServerTemplate]:
    return lambda stage: stage.template(env={"VERSION": str(number)})


def _one_after_the_other(*acts: Callable[[Stage], object]) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        for each in acts:
            each(stage)

    return act


_NODE_PORTS = _with(exposure=lambda _: NodePortPerPod(address=ADDRESS))
_TWO_PORTS = _with(
    exposure=lambda stage: NodePortPerPod(PortPool(stage.first, stage.first + 1), address=ADDRESS)
)
_ROUTES = _with(
    exposure=lambda _: IstioRoute(
        ByHost("play.example.com"), address="192.0.2.1", carries="session"
    )
)
_SHARED = _with(template=lambda stage: stage.template(slots=10))
_FIRST = _with(template=_version(1), ready=3)
_SECOND = _with(template=_version(2), ready=3)


def _set(**settings: Any) -> Callable[[Stage], Fleet]:
    return _with(exposure=lambda _: HeadlessDNS(), workload=StatefulSet(**settings))


_ADOPTED = _with(
    exposure=lambda _: NodePortPerPod(address=ADDRESS),
    workload=StatefulSet(name="legacy", adopt=True),
)


STARTING = {
    "cold": Operation(act=_in(Stage.fleet, _allocate()), done=("allocated",), session=None),
    "cold-session": Operation(
        act=_in(Stage.fleet, _allocate("match-1", limit=_LONG, metadata={"map": "dust"})),
        done=("allocated match-1",),
    ),
    "cold-reserve": Operation(
        act=_in(Stage.fleet, lambda fleet: fleet.reserve(_LONG, timeout=20)), done=("reserved",)
    ),
    "cold-headless": Operation(
        act=_in(_with(exposure=lambda _: HeadlessDNS()), _allocate("match-1")),
        replica=_with(exposure=lambda _: HeadlessDNS()),
        done=("allocated match-1",),
    ),
    "cold-node-port": Operation(
        act=_in(_NODE_PORTS, _allocate("match-1")),
        replica=_NODE_PORTS,
        done=("allocated match-1",),
    ),
    "cold-taken": Operation(
        act=_in(_TWO_PORTS, _allocate("match-1")),
        before=_in(others_port, _allocate("match-2")),
        replica=_TWO_PORTS,
        left=("allocated match-2",),
        done=("allocated match-1", "allocated match-2"),
    ),
    "cold-in-vain": Operation(
        act=_in(
            _with(
                template=lambda stage: stage.template(
                    node_selector={"kubernetes.io/hostname": "nowhere"}
                )
            ),
            _in_vain,
        )
    ),
    "cold-slots": Operation(
        act=_in(_SHARED, _allocate("match-1", slots=4)),
        replica=_SHARED,
        done=("allocated match-1:4",),
    ),
    "cold-group": Operation(
        act=_in(Stage.group, _allocate("match-1")),
        replica=Stage.group,
        done=("allocated match-1",),
    ),
}

ROUTED = {
    "cold-route": Operation(
        act=_in(_ROUTES, _allocate("match-1")), replica=_ROUTES, done=("allocated match-1",)
    ),
}

CLAIMING = {
    "warm": Operation(
        act=_in(Stage.fleet, _allocate()), before=_warm(), left=("free",), done=("allocated",)
    ),
    "warm-session": Operation(
        act=_in(Stage.fleet, _allocate("match-1", metadata={"map": "dust"})),
        before=_warm(),
        left=("free",),
        done=("allocated match-1",),
    ),
    "warm-reservation": Operation(
        act=_in(Stage.fleet, _twice),
        before=_warm(),
        left=("free",),
        between=(("reserved",),),
        done=("allocated match-1",),
    ),
    "warm-group": Operation(
        act=_in(Stage.group, _allocate("match-1")),
        before=_in(
            lambda stage: stage.fleet("red", exposure=HeadlessDNS(), ready=1), _until_ready(1)
        ),
        replica=Stage.group,
        left=("free",),
        done=("allocated match-1",),
    ),
    "share": Operation(
        act=_in(_SHARED, _allocate("match-1", slots=3)),
        before=_in(_SHARED, _allocate("match-2", slots=4)),
        replica=_SHARED,
        left=("allocated match-2:4",),
        done=("allocated match-1:3 match-2:4",),
    ),
    "join": Operation(
        act=_in(_SHARED, lambda fleet: fleet.join("match-1", slots=2)),
        before=_in(_SHARED, _allocate("match-1", slots=4)),
        replica=_SHARED,
        left=("allocated match-1:4",),
        done=("allocated match-1:6",),
    ),
}

ENDING = {
    "leave": Operation(
        act=_in(_SHARED, lambda fleet: fleet.leave("match-1")),
        before=_in(_SHARED, _allocate("match-1", "match-2", slots=4)),
        replica=_SHARED,
        left=("allocated match-1:4 match-2:4",),
        done=("allocated match-2:4",),
    ),
    "leave-empty": Operation(
        act=_in(_SHARED, lambda fleet: fleet.leave("match-1")),
        before=_in(_SHARED, _allocate("match-1", slots=4)),
        replica=_SHARED,
        left=("allocated match-1:4",),
        done=("free",),
    ),
    "give-back": Operation(
        act=_in(Stage.fleet, _give_back),
        before=_warm(),
        left=("free",),
        between=(("reserved",),),
        done=("free",),
    ),
    "release": Operation(
        act=_in(_NODE_PORTS, _release()),
        before=_in(_NODE_PORTS, _allocate("match-1")),
        replica=_NODE_PORTS,
        left=("allocated match-1",),
    ),
    "recycle": Operation(
        act=_in(Stage.fleet, _release(recycle=True)),
        before=_in(Stage.fleet, _allocate("match-1")),
        left=("allocated match-1",),
        done=("recycling",),
    ),
    "recycle-group": Operation(
        act=_in(Stage.group, _release(recycle=True)),
        before=_in(Stage.group, _allocate("match-1")),
        replica=Stage.group,
        left=("allocated match-1",),
        done=("recycling",),
    ),
}

SETS = {
    "set": Operation(
        act=_in(_set(replicas=2), lambda _: None),
        replica=_set(replicas=2),
        left=("free", "free"),
        done=("free", "free"),
    ),
    "set-adopt": Operation(
        act=_in(_ADOPTED, _until_ready(2)),
        before=others_set,
        replica=_ADOPTED,
        left=("free", "free"),
        done=("free", "free"),
        real=True,
    ),
    "set-allocate": Operation(
        act=_in(_set(replicas=1), _allocate("match-1")),
        before=_in(_set(replicas=1), _allocate("match-2")),
        replica=_set(replicas=1),
        left=("allocated match-2",),
        between=(("allocated match-2", "free"),),
        done=("allocated match-1", "allocated match-2"),
    ),
    "set-release": Operation(
        act=_in(_set(replicas=1), _release()),
        before=_in(_set(replicas=1), _allocate("match-1")),
        replica=_set(replicas=1),
        left=("allocated match-1",),
        done=("free",),
    ),
    "set-scale": Operation(
        act=_in(_set(replicas=3), lambda fleet: fleet.scale(1)),
        before=_in(_set(replicas=3), _until_ready(3)),
        replica=_set(replicas=3),
        left=("free", "free", "free"),
        done=("free",),
    ),
    "set-grow": Operation(
        act=_in(_set(replicas=1), lambda fleet: fleet.scale(3)),
        before=_in(_set(replicas=1), _until_ready(1)),
        replica=_set(replicas=1),
        left=("free",),
        done=("free", "free", "free"),
    ),
    "set-template": Operation(
        act=_in(
            _with(
                template=_version(2),
                exposure=lambda _: HeadlessDNS(),
                workload=StatefulSet(replicas=1),
            ),
            _allocate("match-1"),
        ),
        before=_in(_set(replicas=1), _until_ready(1)),
        replica=_with(
            template=_version(2), exposure=lambda _: HeadlessDNS(), workload=StatefulSet(replicas=1)
        ),
        left=("outdated",),
        between=(("free",),),
        done=("allocated match-1",),
    ),
}

TENDING = {
    "refill": Operation(
        act=_warm(3), replica=_with(ready=3), left=("free",) * 3, done=("free",) * 3
    ),
    "refill-node-port": Operation(
        act=_warm(2, exposure=lambda _: NodePortPerPod(address=ADDRESS)),
        replica=_with(exposure=lambda _: NodePortPerPod(address=ADDRESS), ready=2),
        left=("free",) * 2,
        done=("free",) * 2,
    ),
    "surplus": Operation(
        act=_warm(1), before=_warm(4), replica=_with(ready=1), left=("free",), done=("free",)
    ),
    "roll-out": Operation(
        act=_in(_SECOND, _rolled),
        before=_in(_FIRST, _until_ready(3)),
        replica=_SECOND,
        left=("free",) * 3,
        done=("free",) * 3,
    ),
    "roll-back": Operation(
        act=_in(_FIRST, _roll_back),
        before=_one_after_the_other(_in(_FIRST, _until_ready(3)), _in(_SECOND, _rolled)),
        replica=_FIRST,
        left=("outdated",) * 3,
        done=("free",) * 3,
        session=None,
    ),
    "hold": Operation(act=_in(Stage.fleet, _hold), before=_warm(), left=("free",), done=("free",)),
    "drain": Operation(
        act=_in(Stage.fleet, Fleet.drain), before=_warm(2), left=("free", "free"), session=None
    ),
    "reopen": Operation(act=_in(Stage.fleet, Fleet.reopen), before=_in(Stage.fleet, Fleet.drain)),
    "reconcile": Operation(
        act=_in(Stage.fleet, Fleet.reconcile),
        before=_one_after_the_other(_warm(), left_behind),
        left=("free",),
        done=("free",),
    ),
    "reap": Operation(
        act=_in(Stage.fleet, _gone),
        before=_in(Stage.fleet, _allocate("match-1", limit=1)),
        real=True,
    ),
}

OPERATIONS = {**STARTING, **ROUTED, **CLAIMING, **ENDING, **SETS, **TENDING}
"""All, by name."""
