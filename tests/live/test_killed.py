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

# On a real cluster some of these fail still, and it is not known whether for its own slowness.
pytestmark = pytest.mark.only("embedded", "its deadlines are made for the embedded cluster")

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
) -> int:
    """Play an operation, killed or not, then have another replica look; return its writes."""
    name, operation = named
    with cluster.place() as place:
        stage = Stage(
            place.namespace,
            place.kubeconfig,
            cluster.image,
            {} if operation.real else crowd,
            32000 + 10 * (next(_stages) % 700),
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
    return writes


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

        def each(plays: Iterable[tuple[str, Kill | None]]) -> dict[tuple[str, Kill | None], int]:
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
            name: count for (name, _), count in each((one, None) for one in operations).items()
        }
        kills = [
            (name, Kill(number, moment))
            for name, count in writes.items()
            for number in range(1, count + 1)
            for moment in Moment
        ]
        each(kills)
    counted = ", ".join(f"{name} {count}" for name, count in writes.items())
    print(f"\n{len(kills)} kills in {time.monotonic() - began:.0f} s; writes: {counted}")


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
