"""Which replica leads: decided by each one's own clock, on a real Lease."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from podfleet import Cluster, Invalid
from podfleet.fleet.gate import Gate
from podfleet.fleet.tending import tender
from podfleet.fleet.tending.tender import Tender
from podfleet.kube import Guard, KubeClient
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live.faults import faulty

LASTS = 1.5  # seconds
SKEWS = (70.0, -70.0, 5 * 3600.0, -400 * 86400.0)  # seconds


def clock(skew: float) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + timedelta(seconds=skew)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_LASTS", LASTS), ("_RENEW", LASTS * 0.7), ("_FRESH", 0.0)):
        monkeypatch.setattr(tender, name, value)


def replica(backend: Backend, client: KubeClient, fleet: str, skew: float) -> Tender:
    guard = Guard(client, backend.namespace, [fleet])
    return Tender(fleet, Gate(fleet, backend.namespace, guard), guard, "revision", clock(skew))


def leases(backend: Backend) -> dict[str, Any]:
    found = backend.objects("coordination.k8s.io/v1", "leases")
    return {one["metadata"]["name"]: one["spec"] for one in found}


@pytest.mark.only("embedded", "on a real cluster the same Lease is written by the same requests")
def test_machines_whose_clocks_differ_do_not_take_the_lease_from_each_other(
    backend: Backend,
) -> None:
    async def contend(client: KubeClient, number: int, skew: float) -> float:
        name = f"arena-{number}"
        leader, other = (replica(backend, client, name, by) for by in (0.0, skew))
        assert await leader.take()
        until = time.monotonic() + 3 * LASTS
        while time.monotonic() < until:
            assert not await other.take(), f"taken from a leader that lives, clocks {skew} s apart"
            assert await leader.take()
            await asyncio.sleep(LASTS / 20)
        # The leader is killed.
        killed = time.monotonic()
        while not await other.take():
            await asyncio.sleep(LASTS / 20)
        return time.monotonic() - killed

    async def play() -> list[float]:
        client = KubeClient(Cluster(kubeconfig=backend.cluster.kubeconfig))
        try:
            contests = (contend(client, *each) for each in enumerate(SKEWS))
            return await asyncio.gather(*contests)
        finally:
            await client.close()

    assert all(LASTS * 0.2 < after < LASTS + 1.5 for after in asyncio.run(play()))
    for spec in leases(backend).values():
        assert spec["leaseTransitions"] == 1
        assert spec["acquireTime"] <= spec["renewTime"]


@pytest.mark.only("embedded", "what matters is what the API server refuses, here on request")
def test_a_lease_that_cannot_be_written_says_so_and_a_lost_race_is_run_again(
    backend: Backend,
) -> None:
    async def play(through: Backend, api: Any) -> None:
        client = KubeClient(Cluster(kubeconfig=through.kubeconfig))
        try:
            one, two = (replica(backend, client, "arena", 0.0) for _ in range(2))
            await asyncio.gather(*(each.declare() for each in (one, two)))
            await asyncio.gather(*(each.hold(True) for each in (one, two)))
            assert one.paused
            refused = api.fail(Fault("PATCH", "/leases/arena-tender", times=10**6, status=422))
            for write in (one.close, lambda: one.hold(False), one.take):
                before = len(api.seen)
                with pytest.raises(Invalid):
                    await write()
                assert len(api.seen) - before < 5
            refused.times = 0
            await one.hold(False)
            assert not one.paused
        finally:
            await client.close()

    admin = evolve(backend, kubeconfig=backend.cluster.kubeconfig)
    with faulty(admin) as (api, through):
        asyncio.run(play(through, api))
