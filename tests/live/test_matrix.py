"""Every operation under every fault: it ends in time, as `matrix` says, and leaves nothing."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from attrs import define, evolve, field, frozen

from podfleet import (
    AsyncFleet,
    Cluster,
    GameServer,
    GameServerTemplate,
    HeadlessDNS,
    HostPort,
    PodfleetError,
    Port,
    PortPool,
    StatefulSet,
    TransportError,
)
from podfleet.cli.app import app
from podfleet.kube import KubeClient
from podfleet.kube.paths import object_path, pods
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of, name_of, uid_of
from podfleet.model.names import FLEET, SESSION, SESSIONS
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.slots import has_slots, sessions_of
from podfleet.testing import CredentialPlugin, FaultyApi
from tests.cluster.fixtures import Backend
from tests.live.arena import ANY_NODE, own_ports
from tests.live.foreign import make_foreign, versions
from tests.live.matrix import FAILURES, Cell, Failure, Kind, Operation, Scene, expected
from tests.live.matrix_operations import OPERATIONS

_AT_ONCE = 6  # cells
_PORTS = 4  # of each cell
_LEFT = 5.0  # seconds after the fault until nothing is left over
_MARGIN = 0.5  # seconds over the timeout
_HANGS = 60.0  # seconds
_SCENE = 60.0  # seconds for what there is before
_LOOK = 0.1  # seconds
_MODULE = "podfleet_matrix"
_LEASES = "coordination.k8s.io/v1"
_RBAC = "rbac.authorization.k8s.io"
_KINDS = ("pods", "leases", "services", "statefulsets")
_UNREADABLE = "no JSON"


@define
class Lag:
    """How late this machine is, in seconds together: what a loaded one adds to every timeout."""

    total: float = 0.0

    async def watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_LOOK)
            self.total += max(0.0, time.monotonic() - before - _LOOK)


@frozen
class World:
    """What all cells of a fault have in common."""

    backend: Backend
    admin: KubeClient
    folder: Path
    failure: Failure
    lag: Lag = field(factory=Lag)
    gate: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(_AT_ONCE))


class Player:
    """Plays one cell, and notes what is wrong."""

    def __init__(self, world: World, number: int, operation: Operation) -> None:
        self._world = world
        self._failure = world.failure
        self._operation = operation
        self._name = f"cell-{number:02d}"
        self._first = own_ports(1).first + _PORTS * number
        has_own = operation.timed_out is not TransportError
        self._limit = _SCENE if has_own else world.failure.seconds  # of calls without a timeout
        self._starts = operation.starts or world.failure.kind is Kind.UNKNOWN
        self.wrong: list[str] = []

    async def play(self) -> None:
        folder = self._world.folder / self._name
        (folder / "plugin").mkdir(parents=True)
        own = folder / "backend"
        own.write_bytes(self._world.backend.kubeconfig.read_bytes())
        api = FaultyApi(own)
        plugin = CredentialPlugin(folder / "plugin")
        with ExitStack() as stack:
            through = await asyncio.to_thread(stack.enter_context, api.kubeconfig(own))
            if self._failure.kind is Kind.UNKNOWN:
                through = stack.enter_context(plugin.kubeconfig(through))
            await self._play(api, plugin, through)

    async def _play(self, api: FaultyApi, plugin: CredentialPlugin, kubeconfig: Path) -> None:
        fleet = self._fleet(kubeconfig)
        patient, spec = evolve(fleet.spec.cluster, timeout=_SCENE), fleet.spec
        fleet.spec = evolve(spec, cluster=patient)
        await fleet.start()
        server = await self._set(fleet)
        if self._failure.poisons:
            await self._poison(fleet)
        if self._starts:
            await fleet.stop()
            fleet = self._fleet(kubeconfig)
        else:
            fleet.spec = spec
        if self._failure.expires and not self._starts:
            await asyncio.to_thread(api.expire_watches)
        if self._failure.kind is Kind.UNKNOWN:
            plugin.hang()
        asked = len(api.seen)
        api.faults.extend(self._failure.copies())
        outcome = await self._act(Cell(fleet, server, self._failure.seconds, self._command(fleet)))
        api.faults.clear()
        plugin.recover()
        if self._failure.late:
            await self._until_carried_out()
        if self._starts:  # its start may go on with what it began under the fault
            await fleet.stop()
            fleet = self._fleet(kubeconfig)
        fleet.spec = evolve(fleet.spec, cluster=patient)
        await fleet.start()
        await self._check_left(fleet, outcome)
        await self._check_next(fleet)
        await fleet.stop()
        self._check_written(api.seen[asked:])

    async def _act(self, cell: Cell) -> type[PodfleetError] | None:
        """Carry the operation out; return how it ended."""
        late, began = self._world.lag.total, time.monotonic()
        outcome: type[PodfleetError] | None = None
        words = "a result"
        try:
            async with asyncio.timeout(_HANGS):
                await self._operation.act(cell)
        except PodfleetError as error:
            outcome, words = type(error), f"{type(error).__name__}: {error}"
        took = time.monotonic() - began
        await asyncio.sleep(2 * _LOOK)  # until it is known how late the machine was
        limit = self._failure.seconds + self._operation.stops + _MARGIN
        limit += self._world.lag.total - late
        if took > limit:
            self.wrong.append(f"took {took:.2f} s, not {limit:.2f} s: {words}")
        if outcome not in expected(self._operation, self._failure):
            self.wrong.append(f"ended in {words}")
        return outcome

    async def _until_carried_out(self) -> None:
        self._world.gate.release()  # it only waits
        until = time.monotonic() + self._failure.late
        while time.monotonic() < until:
            await asyncio.sleep(_LOOK)
        await self._world.gate.acquire()

    async def _check_left(self, fleet: AsyncFleet, outcome: type[PodfleetError] | None) -> None:
        began = time.monotonic()
        late = self._world.lag.total
        allowed = self._allowed(outcome)
        while True:
            servers, wrong = await self._left(fleet)
            if servers in allowed and not wrong:
                return
            if time.monotonic() - began > _LEFT + self._world.lag.total - late:
                self.wrong.append(f"left {servers} and {wrong}, not one of {allowed}")
                return
            await asyncio.sleep(_LOOK)

    def _allowed(self, outcome: type[PodfleetError] | None) -> list[tuple[str, ...]]:
        operation = self._operation
        before = operation.scene.value
        allowed = [operation.done] if outcome is None else [before, *operation.late]
        if self._failure.poisons:
            one = ("unreadable",)
            return [tuple(sorted((*each, *one))) for each in allowed]
        return allowed

    async def _check_next(self, fleet: AsyncFleet) -> None:
        try:
            if self._operation.name == "drain":
                await fleet.reopen()
            await fleet.allocate("match-2", timeout=10)
        except PodfleetError as error:
            self.wrong.append(f"the next allocate: {type(error).__name__}: {error}")

    def _check_written(self, seen: list[str]) -> None:
        for request in seen:
            method, _, path = request.partition(" ")
            if method != "GET" and not self._is_own(path):
                self.wrong.append(f"wrote {request}")

    def _is_own(self, path: str) -> bool:
        namespace = self._world.backend.namespace
        own = rf"/namespaces/{namespace}/({'|'.join(_KINDS)})(/{self._name}(-[^/]+)?)?$"
        path, _, query = path.partition("?")
        return bool(re.search(own, path)) or "/selfsubject" in path or "dryRun=All" in query

    def _command(self, fleet: AsyncFleet) -> Any:
        async def command(first: str, *rest: str) -> object:
            variable = self._name.replace("-", "_")
            setattr(sys.modules[_MODULE], variable, fleet)
            line = [first, f"{_MODULE}:{variable}", *rest]
            return await asyncio.to_thread(app, args=line, standalone_mode=False)

        return command

    def _fleet(self, kubeconfig: Path) -> AsyncFleet:
        self._pool = PortPool(self._first, self._first + _PORTS - 1)
        settings: dict[str, Any] = {"exposure": HostPort(self._pool, address=ANY_NODE)}
        if self._operation.scene is Scene.SET:
            settings = {"exposure": HeadlessDNS(), "workload": StatefulSet(replicas=2)}
        template = GameServerTemplate(
            image=self._world.backend.cluster.image,
            ports=[Port("game", 7777, "TCP")],
            slots=10 if self._operation.scene is Scene.SHARED else None,
            pod={"spec": {"terminationGracePeriodSeconds": 1}},
        )
        return AsyncFleet(
            self._name,
            template=template,
            namespace=self._world.backend.namespace,
            cluster=Cluster(kubeconfig=kubeconfig, timeout=self._limit),
            **settings,
        )

    async def _set(self, fleet: AsyncFleet) -> GameServer | None:
        """Set the scene; return its server."""
        match self._operation.scene:
            case Scene.FREE:
                await fleet.release(await fleet.reserve(600, timeout=_SCENE))
            case Scene.RESERVED:
                return await fleet.reserve(600, timeout=_SCENE)
            case Scene.ALLOCATED:
                return await fleet.allocate("match-1", timeout=_SCENE)
            case Scene.SHARED:
                return await fleet.allocate("match-1", slots=4, timeout=_SCENE)
            case Scene.SET:
                while [one.state.value for one in await fleet.servers()] != ["ready", "ready"]:
                    await asyncio.sleep(_LOOK)
        return None

    async def _poison(self, fleet: AsyncFleet) -> None:
        """Make one more server, which cannot be read."""
        if self._operation.scene is Scene.SET:
            name = f"{fleet.name}-1"
        elif self._operation.scene is Scene.SHARED:
            name = (await fleet.allocate("match-9", slots=10, timeout=_SCENE)).name
            await fleet.leave("match-9")
        else:
            count = 2 if self._operation.scene is Scene.FREE else 1
            held = [await fleet.reserve(600, timeout=_SCENE) for _ in range(count)]
            for one in held:
                await fleet.release(one)
            name = held[-1].name
        cluster = self._world.backend.cluster
        await asyncio.to_thread(cluster.poison, self._world.backend.namespace, name)

    async def _left(self, fleet: AsyncFleet) -> tuple[tuple[str, ...], list[str]]:
        """Return the fleet's servers, in a word or two, and what should not be there."""
        admin, namespace = self._world.admin, self._world.backend.namespace
        found = await admin.get(pods(namespace), {"labelSelector": f"{FLEET}={fleet.name}"})
        servers = {uid_of(pod): pod for pod in found["items"]}
        wrong = []
        for lease in (await admin.get(object_path(_LEASES, "leases", namespace)))["items"]:
            name = name_of(lease)
            owners = [one["uid"] for one in lease["metadata"].get("ownerReferences") or ()]
            if name.startswith(fleet.name) and owners:
                pod = servers.get(owners[0])
                session = annotations_of(lease).get(SESSION)
                if pod is None or session not in sessions_of(pod):
                    wrong.append(f"Lease {name} of session {session}")
        held = set(_host_ports(servers.values()))
        read = set(_host_ports(pod for pod in servers.values() if _word(pod) != "unreadable"))
        used = set(self._pool.in_use)
        if self._operation.scene is not Scene.SET and not read <= used <= held:
            wrong.append(f"ports {sorted(used)} in use, {sorted(held)} held")
        return tuple(sorted(map(_word, servers.values()))), wrong


def _host_ports(found: Any) -> Iterator[int]:
    for pod in found:
        for container in pod["spec"]["containers"]:
            for port in container.get("ports") or ():
                if "hostPort" in port:
                    yield port["hostPort"]


def _word(pod: Manifest) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "going"
    if annotations_of(pod).get(SESSIONS) == _UNREADABLE:
        return "unreadable"
    state = claim_state(pod)
    if state is not ClaimState.ALLOCATED:
        return "free" if state is ClaimState.UNCLAIMED else str(state and state.value)
    slots = {name: count for name, count in sessions_of(pod).items() if not name.startswith("~")}
    named = sorted(f"{one}:{slots[one]}" if has_slots(pod) else one for one in slots)
    return " ".join(["allocated", *named])


def _let_do_anything(backend: Backend) -> None:
    """Give the account every right: so that no Role stands in the way of a wrong write."""
    name = f"everything-{backend.namespace}"
    namespace, _, account = backend.account.partition("/")
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    backend.cluster.apply([{**role, "rules": [rule]}, binding])


async def _play_all(backend: Backend, folder: Path, failure: Failure) -> dict[str, list[str]]:
    """Play every operation; return what was wrong with which."""
    admin = KubeClient(Cluster(kubeconfig=backend.cluster.kubeconfig))
    world = World(backend, admin, folder, failure)
    watching = asyncio.create_task(world.lag.watch())

    async def play(number: int, operation: Operation) -> tuple[str, list[str]]:
        player = Player(world, number, operation)
        async with world.gate:
            await player.play()
        return operation.name, player.wrong

    try:
        played = await asyncio.gather(
            *(play(number, one) for number, one in enumerate(OPERATIONS.values()))
        )
    finally:
        watching.cancel()
        await admin.close()
    return {name: wrong for name, wrong in played if wrong}


@pytest.mark.only("embedded", "the faults are on the way to the API server")
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_every_operation(
    failure: Failure, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, _MODULE, ModuleType(_MODULE))
    _let_do_anything(backend)
    make_foreign(backend)
    before = versions(backend)
    assert not asyncio.run(_play_all(backend, tmp_path, failure))
    assert versions(backend) == before
    local = backend.cluster.local
    assert local is not None
    user = "system:serviceaccount:" + backend.account.replace("/", ":")
    writes = [one.path for one in local.audit if one.user == user and one.method != "GET"]
    assert writes
    outside = [
        path
        for path in writes
        if f"/namespaces/{backend.namespace}/" not in path and "/selfsubject" not in path
    ]
    assert not outside
