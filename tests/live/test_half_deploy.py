"""A deploy half way: replicas with two templates run side by side, and are killed by turns."""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from podfleet import AsyncFleet, Cluster, Fleet, GameServerTemplate, HeadlessDNS, Port
from podfleet.fleet.tending import tender, upkeep
from podfleet.model.manifest import annotations_of
from podfleet.model.names import REVISIONS
from podfleet.sync.portal import portal
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make
from tests.live.onlooker import Onlooker
from tests.live.processes import at_once
from tests.live.test_rollout import free

READY = 3
ROUNDS = 4  # in each of which both replicas are killed once
HURRY = ((tender, "_LASTS", 4.0), (tender, "_RENEW", 2.0), (upkeep, "_LOOK", 2.0))  # seconds
_CONTEXT: Any = multiprocessing.get_context("forkserver")


@frozen
class Deploy:
    """Where the replicas run, as it can be sent to a process."""

    namespace: str
    kubeconfig: Path
    image: str
    crowd: dict[str, Any]

    def settings(self, version: int) -> dict[str, Any]:
        shape = GameServerTemplate(
            image=self.image,
            ports=[Port("game", 7777, "TCPUDP")],
            env={"VERSION": str(version)},
            pod={"spec": {"terminationGracePeriodSeconds": 2}},
            **self.crowd,
        )
        return {
            "template": shape,
            "exposure": HeadlessDNS(),
            "ready": READY,
            "namespace": self.namespace,
            "cluster": Cluster(kubeconfig=self.kubeconfig),
        }


def serve(deploy: Deploy, version: int) -> None:
    """Be a replica that has matches, until it is killed."""
    hurry()

    async def run() -> None:
        async with AsyncFleet("arena", **deploy.settings(version)) as fleet:
            while True:
                server = await fleet.allocate(timeout=60)
                assert server.labels["podfleet.dev/revision"] == fleet.revision
                await asyncio.sleep(0.5)
                await server.release()

    asyncio.run(run())


def hurry() -> None:
    for module, constant, seconds in HURRY:
        setattr(module, constant, seconds)


@contextmanager
def replica(deploy: Deploy, version: int) -> Iterator[Callable[[], None]]:
    """Run one; gives what kills it and starts it again."""
    running = []

    def start() -> None:
        process = _CONTEXT.Process(target=serve, args=(deploy, version), daemon=True)
        process.start()
        running.append(process)

    def kill() -> None:
        assert running[-1].is_alive(), "it failed: see its stderr"
        running[-1].kill()
        running[-1].join()

    def again() -> None:
        kill()
        start()

    start()
    try:
        yield again
    finally:
        kill()


def revisions(backend: Backend) -> list[str]:
    """Return the templates that the fleet has had, as its Lease says."""
    leases = backend.objects("coordination.k8s.io/v1", "leases")
    notes = [annotations_of(one) for one in leases if one["metadata"]["name"] == "arena-tender"]
    return notes[0].get(REVISIONS, "").split() if notes else []


def deploy_of(backend: Backend, crowd: dict[str, Any]) -> Deploy:
    return Deploy(backend.namespace, backend.kubeconfig, backend.cluster.image, crowd)


def test_the_newer_template_wins_once_whoever_is_killed_and_comes_back(
    backend: Backend, crowd: dict[str, Any]
) -> None:
    deploy = deploy_of(backend, crowd)
    old, new = (make(Fleet, backend, **deploy.settings(number)) for number in (1, 2))
    onlooker = Onlooker(backend.cluster.kubeconfig, backend.namespace)
    with onlooker.watching(), replica(deploy, 1) as old_again:
        eventually(lambda: free(backend)[old.revision] >= READY, 60)
        assert revisions(backend) == [old.revision]
        with replica(deploy, 2) as new_again:
            eventually(lambda: free(backend)[new.revision] >= READY, 60)
            eventually(lambda: not free(backend)[old.revision], 60)
            settled = time.monotonic()
            for _ in range(ROUNDS):
                for again in (old_again, new_again):
                    again()
                    # Both have matches again, with servers of their own templates.
                    eventually(partial(onlooker.has_seen, len(onlooker.seen) + 4), 60)
                    eventually(lambda: free(backend)[new.revision] >= READY, 60)
                    assert revisions(backend) == [old.revision, new.revision]
    later = [seen for seen in onlooker.seen.values() if seen.first > settled]
    kept = Counter(seen.revision for seen in later if seen.warm)
    matches = Counter(seen.revision for seen in later if not seen.warm)
    print(
        f"\n{2 * ROUNDS} kills in {time.monotonic() - settled:.0f} s: kept ready anew: "
        f"{kept[old.revision]} of the old template, {kept[new.revision]} of the new; "
        f"started for a caller: {matches[old.revision]} and {matches[new.revision]}"
    )
    assert kept[old.revision] == 0
    assert kept[new.revision] > 0
    assert matches[old.revision] > 0


def begin_at_once(number: int, meet: Callable[[], None], deploy: Deploy, seconds: float) -> bool:
    """Be one of two replicas that come with a template each to a fleet that has had none."""
    hurry()

    async def run() -> bool:
        fleet = AsyncFleet("arena", **deploy.settings(number))
        meet()
        async with fleet:
            await asyncio.sleep(seconds)  # as long as the test looks on
            return (await fleet.rollout_status()).is_present

    return asyncio.run(run())


@pytest.mark.parametrize("replicas", [2, 4])
def test_of_templates_that_come_at_the_same_instant_one_wins(
    backend: Backend, crowd: dict[str, Any], replicas: int
) -> None:
    deploy = deploy_of(backend, crowd)
    make(Fleet, backend, **deploy.settings(0))  # for the rights
    onlooker = Onlooker(backend.cluster.kubeconfig, backend.namespace)
    with onlooker.watching():
        won = at_once(replicas, begin_at_once, deploy, 12.0)
        assert sum(won) == 1
        (winner,) = (number for number, present in enumerate(won) if present)
        fleet = Fleet("arena", **deploy.settings(winner))
        assert revisions(backend)[-1] == fleet.revision
        with fleet:
            eventually(lambda: free(backend) == {fleet.revision: READY}, 60)
    made = Counter(seen.revision for seen in onlooker.seen.values())
    print(f"\n{replicas} templates at once: servers made: {sorted(made.values())}")
    # Each may have filled once, before it knew of the next; the winner's are made once.
    assert max(made.values()) <= 2 * READY
    assert len(onlooker.seen) <= (replicas + 1) * READY


def test_who_rolls_back_last_wins_once(backend: Backend) -> None:
    deploy = deploy_of(backend, {})
    one, other = (make(Fleet, backend, **deploy.settings(number)) for number in (1, 2))
    with one, other:
        eventually(lambda: len(revisions(backend)) == 2)

        async def both() -> None:
            await asyncio.gather(*(fleet.own().roll_out() for fleet in (one, other)))

        for _ in range(5):
            portal.run(both())
            present = [fleet for fleet in (one, other) if fleet.rollout_status().is_present]
            assert [fleet.revision for fleet in present] == revisions(backend)[-1:]
        eventually(lambda: free(backend) == {present[0].revision: READY}, 60)
