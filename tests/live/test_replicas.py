"""Replicas of one fleet, each a process of its own, with nothing between them but the cluster."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from podfleet import AsyncFleet, Cluster, Fleet, GameServerTemplate, HeadlessDNS, Port, ServerState
from podfleet.kube import KubeClient
from podfleet.kube.paths import object_path
from podfleet.model.manifest import annotations_of, uid_of
from podfleet.model.names import SESSION
from podfleet.model.server import ClaimState, claim_state
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make
from tests.live.processes import at_once

REPLICAS = 8


@frozen
class Place:
    """Where the replicas' fleet is, as it can be sent to a process."""

    namespace: str
    kubeconfig: Path
    image: str
    crowd: dict[str, Any]

    @property
    def template(self) -> GameServerTemplate:
        ports = [Port("game", 7777, "TCPUDP")]
        return GameServerTemplate(image=self.image, ports=ports, **self.crowd)

    def fleet(self, **settings: Any) -> AsyncFleet:
        return AsyncFleet(
            "arena",
            template=self.template,
            exposure=HeadlessDNS(),
            namespace=self.namespace,
            cluster=Cluster(kubeconfig=self.kubeconfig),
            **settings,
        )


def place(backend: Backend, crowd: dict[str, Any]) -> Place:
    return Place(backend.namespace, backend.kubeconfig, backend.cluster.image, crowd)


def keeper(backend: Backend, here: Place, ready: int) -> Fleet:
    """Return the fleet of one more replica, in this process."""
    return make(Fleet, backend, template=here.template, exposure=HeadlessDNS(), ready=ready)


def ask_for_each(
    _: int, meet: Callable[[], None], here: Place, sessions: list[str]
) -> dict[str, tuple[str, str]]:
    """Be a replica that is asked for each session in turn, a few at once."""

    async def run() -> dict[str, tuple[str, str]]:
        limit = asyncio.Semaphore(8)

        async def ask(fleet: AsyncFleet, session: str) -> tuple[str, tuple[str, str]]:
            async with limit:
                server = await fleet.allocate(session, timeout=120)
                return session, (server.uid, str(server.endpoint))

        async with here.fleet() as fleet:
            meet()
            return dict(await asyncio.gather(*(ask(fleet, session) for session in sessions)))

    return asyncio.run(run())


def test_a_session_asked_of_all_replicas_at_once_is_one_server(
    backend: Backend, crowd: dict[str, Any]
) -> None:
    here = place(backend, crowd)
    sessions = [f"match {number}" for number in range(200)]
    with keeper(backend, here, ready=220) as fleet:
        eventually(lambda: fleet.status().servers[ServerState.READY] == 220, 120)
    answers = at_once(REPLICAS, ask_for_each, here, sessions)
    for session in sessions:
        assert len({answer[session] for answer in answers}) == 1, session
    assert len({answers[0][session] for session in sessions}) == len(sessions)

    def states() -> Counter[ClaimState | None]:
        return Counter(map(claim_state, backend.pods()))

    eventually(lambda: len(backend.pods()) == 220)
    assert states() == {ClaimState.ALLOCATED: 200, ClaimState.UNCLAIMED: 20}
    served = {annotations_of(pod).get(SESSION): uid_of(pod) for pod in backend.pods()}
    assert {session: served[session] for session in sessions} == {
        session: answers[0][session][0] for session in sessions
    }


def allocate_and_release(
    number: int, meet: Callable[[], None], here: Place, count: int, ready: int
) -> list[tuple[str, float, float]]:
    """Be a replica that allocates, and releases by chance; return who had which server when."""
    chance = random.Random(number)

    async def run() -> list[tuple[str, float, float]]:
        held: list[tuple[Any, float]] = []
        told = []

        async def release(fleet: AsyncFleet) -> None:
            server, since = held.pop(chance.randrange(len(held)))
            told.append((server.uid, since, time.monotonic()))
            await server.release()

        async def allocate(fleet: AsyncFleet) -> None:
            server = await fleet.allocate(timeout=120)
            held.append((server, time.monotonic()))
            while len(held) > 6 or (held and chance.random() < 0.3):
                await release(fleet)

        async with here.fleet(ready=ready) as fleet:
            meet()
            for _ in range(count // 4):
                await asyncio.gather(*(allocate(fleet) for _ in range(4)))
            now = time.monotonic()
            return told + [(server.uid, since, now) for server, since in held]

    return asyncio.run(run())


def test_no_server_has_two_at_a_time_and_none_is_lost(
    backend: Backend, crowd: dict[str, Any], thorough: bool
) -> None:
    here, ready = place(backend, crowd), 100
    count = 500 if thorough else 100
    with keeper(backend, here, ready) as fleet:
        eventually(lambda: fleet.status().servers[ServerState.READY] == ready, 120)
        told = [
            one
            for log in at_once(REPLICAS, allocate_and_release, here, count, ready)
            for one in log
        ]
        assert len(told) == REPLICAS * count
        by_server = defaultdict(list)
        for uid, since, until in told:
            by_server[uid].append((since, until))
        for turns in by_server.values():
            turns.sort()
            assert all(one[1] <= other[0] for one, other in pairwise(turns))

        end = max(until for _, _, until in told)
        kept = {uid for uid, _, until in told if until >= end - 1e-9}
        eventually(lambda: fleet.status().servers[ServerState.READY] >= ready, 120)
        allocated = {one.uid for one in fleet.servers(ServerState.ALLOCATED)}
        assert kept <= allocated


@pytest.mark.parametrize("plural", ["leases", "pods"])
def test_an_object_of_another_uid_is_spared(backend: Backend, plural: str) -> None:
    """The API server words its refusal differently from kind to kind."""
    manifest: dict[str, Any] = {
        "apiVersion": "v1" if plural == "pods" else "coordination.k8s.io/v1",
        "kind": "Pod" if plural == "pods" else "Lease",
        "metadata": {"name": "namesake", "namespace": backend.namespace},
        "spec": {},
    }
    if plural == "pods":
        manifest["spec"] = {"containers": [{"name": "a", "image": backend.cluster.image}]}
    backend.cluster.apply([manifest])

    async def delete() -> bool:
        client = KubeClient(Cluster(kubeconfig=backend.cluster.kubeconfig))
        path = object_path(manifest["apiVersion"], plural, backend.namespace, "namesake")
        try:
            return await client.delete(path, uid="bfbb3419-d644-4a0c-aab6-df5e70800183")
        finally:
            await client.close()

    assert asyncio.run(delete()) is False
    assert len(backend.objects(manifest["apiVersion"], plural)) == 1
