"""A reservation whose server went another way: allocate says so at once, and asks little."""

import time
from collections.abc import Callable

import pytest

from podfleet import AllocationError, Fleet, GameServer, HeadlessDNS, ServerState
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make
from tests.live.faults import faulty

AT_ONCE = 1.0  # seconds
FEW = 12  # requests


def kill(backend: Backend, fleet: Fleet, reserved: GameServer) -> None:
    assert backend.cluster.local is not None
    backend.cluster.local.kill(reserved.name, backend.namespace)
    eventually(lambda: fleet.get(reserved.name).state is ServerState.ENDED)


def delete(backend: Backend, fleet: Fleet, reserved: GameServer) -> None:
    backend.delete("pods", reserved.name, grace=0)


def begin_to_delete(backend: Backend, fleet: Fleet, reserved: GameServer) -> None:
    backend.delete("pods", reserved.name)


def give_back(backend: Backend, fleet: Fleet, reserved: GameServer) -> None:
    fleet.release(reserved)


def take(backend: Backend, fleet: Fleet, reserved: GameServer) -> None:
    fleet.allocate("match-2", reservation=reserved, timeout=10)


def reserve_again(backend: Backend, fleet: Fleet, reserved: GameServer) -> None:
    fleet.release(reserved)
    again = fleet.reserve(60, timeout=10)
    assert again.uid == reserved.uid


WAYS: list[tuple[Callable[[Backend, Fleet, GameServer], None], str]] = [
    (kill, "its server has ended"),
    (delete, "its server is gone"),
    (begin_to_delete, "its server is (being deleted|gone)"),
    (give_back, "it was given back"),
    (take, "its server is allocated"),
    (reserve_again, "another caller has reserved its server since"),
]


@pytest.mark.only("embedded", "servers are killed at once there; the rules are the same")
@pytest.mark.parametrize("session", ["match-1", None])
@pytest.mark.parametrize(("way", "why"), WAYS, ids=[way.__name__ for way, _ in WAYS])
def test_a_reservation_that_is_over_is_told_at_once(
    backend: Backend,
    way: Callable[[Backend, Fleet, GameServer], None],
    why: str,
    session: str | None,
) -> None:
    with faulty(backend) as (api, through):
        fleet = make(Fleet, through, exposure=HeadlessDNS())
        with fleet:
            reserved = fleet.reserve(60, timeout=20)
            way(backend, fleet, reserved)
            before, began = len(api.seen), time.monotonic()
            with pytest.raises(AllocationError, match=f"its reservation is over: {why}"):
                fleet.allocate(session, reservation=reserved, timeout=10)
            assert time.monotonic() - began < AT_ONCE
            assert len(api.seen) - before <= FEW
