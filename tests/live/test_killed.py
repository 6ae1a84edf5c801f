"""SIGKILL after every single write of every operation: one look of another replica mends all."""

import itertools
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.cluster.fixtures import LiveCluster
from tests.live.killing import Kill, Moment, Sight, fleets_of, run
from tests.live.operations import (
    CLAIMING,
    ENDING,
    ROUTED,
    SETS,
    STARTING,
    TENDING,
)
from tests.live.stage import HURRY, Operation, Stage

AT_ONCE = 24  # namespaces

_stages = itertools.count()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, constant, seconds in HURRY:
        monkeypatch.setattr(module, constant, seconds)


def play(
    cluster: LiveCluster,
    crowd: dict[str, Any],
    named: tuple[str, Operation],
    kill: Kill | None = None,
    *,
    istio: bool = False,
) -> tuple[int, bool]:
    """Play an operation, then have another replica look; return its writes, and if it was killed.

    Args:
        cluster: The cluster.
        crowd: What a template says for its servers to be played.
        named: The operation, and its name.
        kill: When it is to be killed, if it is.
        istio: Whether the cluster has Istio's kinds.
    """
    name, operation = named
    with cluster.place() as place:
        stage = Stage(
            place.namespace,
            place.kubeconfig,
            cluster.image,
            {} if operation.real else crowd,
            30100 + 10 * (next(_stages) % 260),  # in the range of NodePorts
        )
        for fleet in fleets_of(operation.replica(stage)):
            cluster.apply(fleet.manifests(place.account))
        operation.before(stage)
        writes, killed = run(name, stage, kill)
        with operation.replica(stage) as face:
            for fleet in fleets_of(face):
                fleet.reconcile()
            sight = Sight(cluster, place.namespace, face, istio)
            left = sight.until(lambda left: left.is_one_of(operation))
            assert killed or left.servers == operation.done, left
            if operation.session is not None:
                ask_again(sight, operation.session)
    return writes, killed


def ask_again(sight: Sight, session: str) -> None:
    """Have a session asked for again, whatever became of it, and end it: nothing stays."""
    server = sight.face.allocate(session, timeout=60)
    assert server.endpoints
    assert not sight.look().wrong
    sight.check_whole()
    sight.face.release(server)
    sight.until(lambda left: left.has_no(session))


def play_all(
    cluster: LiveCluster,
    crowd: dict[str, Any],
    operations: Mapping[str, Operation],
    *,
    istio: bool = False,
) -> None:
    """Count each operation's writes, then kill it after each of them."""
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as threads:

        def each(plays: Iterable[tuple[str, Kill | None]]) -> dict[tuple[str, Kill | None], Any]:
            futures = {
                (name, kill): threads.submit(
                    play, cluster, crowd, (name, operations[name]), kill, istio=istio
                )
                for name, kill in plays
            }
            failed = [
                f"{name} {kill or 'not killed'}: {error}"
                for (name, kill), future in futures.items()
                if (error := future.exception()) is not None
            ]
            assert not failed, "\n".join(failed)
            return {key: future.result() for key, future in futures.items()}

        writes = {
            name: count for (name, _), (count, _) in each((one, None) for one in operations).items()
        }
        kills = [
            (name, Kill(number, moment))
            for name, count in writes.items()
            for number in range(1, count + 1)
            for moment in Moment
        ]
        # Where two runs differ in their writes, or one ends faster than it is killed.
        missed = [
            f"{name} {kill}" for (name, kill), (_, killed) in each(kills).items() if not killed
        ]
    counted = ", ".join(f"{name} {count}" for name, count in writes.items())
    took = time.monotonic() - began
    print(f"\n{len(kills) - len(missed)} kills in {took:.0f} s; writes: {counted}; not {missed}")


def test_killed_while_it_starts_a_server(cluster: LiveCluster, crowd: dict[str, Any]) -> None:
    play_all(cluster, crowd, STARTING)


def test_killed_while_it_makes_routes(
    cluster: LiveCluster, istio_crds: None, crowd: dict[str, Any]
) -> None:
    play_all(cluster, crowd, ROUTED, istio=True)


def test_killed_while_it_claims(cluster: LiveCluster, crowd: dict[str, Any]) -> None:
    play_all(cluster, crowd, CLAIMING)


def test_killed_while_it_ends_a_match(cluster: LiveCluster, crowd: dict[str, Any]) -> None:
    play_all(cluster, crowd, ENDING)


def test_killed_with_a_stateful_set(cluster: LiveCluster, crowd: dict[str, Any]) -> None:
    play_all(cluster, crowd, SETS)


def test_killed_while_it_tends(cluster: LiveCluster, crowd: dict[str, Any]) -> None:
    play_all(cluster, crowd, TENDING)
