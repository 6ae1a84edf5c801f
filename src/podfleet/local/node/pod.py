"""`PodWorker`: one Pod on its Node, from its binding to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

from podfleet.local.clock import parse
from podfleet.local.node import volumes
from podfleet.local.node.container import Container
from podfleet.local.node.machine import Machine
from podfleet.local.node.programs import Exit
from podfleet.local.node.status import ContainerState, pod_status
from podfleet.local.node.volumes import Unmounted
from podfleet.local.objects.kinds import POD, Kind
from podfleet.local.objects.statuses import Refusal
from podfleet.model import Manifest
from podfleet.model.container import container_name
from podfleet.model.manifest import annotations_of, labels_of, name_of, namespace_of, uid_of

__all__ = ["PodWorker"]

_MOUNT_RETRY = (0.5, 120.0)  # seconds: the first pause, and the longest
_DEADLINE = (
    "DeadlineExceeded",
    "Pod was active on the node longer than the specified deadline",
)


class PodWorker:
    """Runs one Pod.

    Args:
        pod: The Pod, bound to this Node.
        machine: What all share.
        host: The Node's address.
        lost: Whether it ran before, and its Node was lost meanwhile.
    """

    def __init__(self, pod: Manifest, machine: Machine, host: str, *, lost: bool) -> None:
        self._pod = pod
        self._machine = machine
        self._host = host
        self._lost = lost
        self._folder: Path = machine.folder / "pods" / uid_of(pod)
        self._started = machine.clock.stamp()
        self._address: str | None = None
        self._failure: tuple[str, str] | None = None
        self._changed = asyncio.Event()
        spec = pod["spec"]
        self._init = [_created(one, "PodInitializing") for one in spec.get("initContainers") or []]
        waits = "PodInitializing" if self._init else "ContainerCreating"
        self._states = [_created(one, waits) for one in spec["containers"]]
        self._containers: dict[str, Container] = {}
        self._task = machine.spawn(self._run())

    @property
    def folder(self) -> Path:
        """Its files."""
        return self._folder

    def take(self, pod: Manifest) -> None:
        """Take the Pod as it is now."""
        before, self._pod = self._pod, pod
        if (labels_of(before), annotations_of(before)) != (labels_of(pod), annotations_of(pod)):
            volumes.refresh(pod, self._folder, self._find)
        self._changed.set()

    def kill(self, container: str | None, *, out_of_memory: bool = False) -> bool:
        """Have a container die; ``False`` if it does not run."""
        name = container or container_name(self._pod)
        found = self._containers.get(name)
        return found is not None and found.kill(out_of_memory=out_of_memory)

    def log(self, container: str, *, previous: bool) -> tuple[Path, int] | None:
        """Return the file of a container's log and the number of its run; ``None`` without one."""
        for state in [*self._init, *self._states]:
            if state.name == container and container in self._containers:
                run = state.restarts - previous
                return (self._containers[container].log(run), run) if run >= 0 else None
        return None

    def follows(self, container: str, run: int) -> bool:
        """Return whether a run of a container goes on."""
        states = [one for one in [*self._init, *self._states] if one.name == container]
        return any(one.restarts == run and "running" in one.state for one in states)

    async def vanish(self) -> None:
        """End it without a word, as with its Node."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        living = asyncio.get_running_loop().create_task(self._live())
        told = asyncio.get_running_loop().create_task(self._until_told())
        try:
            await asyncio.wait({living, told}, return_when=asyncio.FIRST_COMPLETED)
            if told.done() and not living.done():
                await self._stop(living)
            if living.done() and not living.cancelled() and living.exception():
                raise living.exception() or RuntimeError
            self._publish()
            while not self._pod["metadata"].get("deletionTimestamp"):
                self._changed.clear()
                await self._changed.wait()
            self._publish()
            self._remove()
        finally:
            if self._address and self._address != self._host:
                self._machine.addresses.release(self._address)
            for task in (living, told):
                task.cancel()
            await asyncio.gather(living, told, return_exceptions=True)

    async def _live(self) -> None:
        """Run its containers in their order; done when they have all ended for good."""
        if self._lost:
            self._recall()
        self._publish()
        await self._mount()
        on_host = self._pod["spec"].get("hostNetwork")
        self._address = self._host if on_host else self._machine.addresses.claim()
        self._publish()
        sidecars = []
        try:
            for state in self._init:
                container = self._container(state)
                if state.is_sidecar:
                    sidecars.append(asyncio.create_task(container.run(policy="Always")))
                    while not state.started:
                        await self._machine.clock.sleep(0.05)
                elif not await self._initialize(container):
                    return
            policy = self._pod["spec"]["restartPolicy"]
            ahead = [one for one in self._states if "terminated" not in one.state]
            for state in ahead:
                state.state = {"waiting": {"reason": "ContainerCreating"}}
            async with asyncio.TaskGroup() as group:
                for state in ahead:
                    group.create_task(self._container(state).run(policy=policy))
        finally:
            for sidecar in sidecars:
                sidecar.cancel()
            await asyncio.gather(*sidecars, return_exceptions=True)

    async def _initialize(self, container: Container) -> bool:
        policy = self._pod["spec"]["restartPolicy"]
        ended: Exit = await container.run(policy="Never" if policy == "Never" else "OnFailure")
        return ended.code == 0

    def _container(self, state: ContainerState) -> Container:
        assert self._address is not None
        made = Container(
            state, lambda: self._pod, self._machine, self._folder, self._address, self._publish
        )
        self._containers[state.name] = made
        return made

    def _recall(self) -> None:
        """Take note of what died with the Node."""
        known = {one["name"]: one for one in self._pod["status"].get("containerStatuses") or []}
        for state in self._states:
            before = known.get(state.name)
            if before is None:
                continue
            state.restarts = before["restartCount"]
            if "running" in before["state"]:
                ended = {
                    "exitCode": 137,
                    "reason": "Error",
                    "startedAt": before["state"]["running"]["startedAt"],
                    "finishedAt": self._machine.clock.stamp(),
                    "containerID": before.get("containerID", ""),
                }
                state.state = {"terminated": ended}
                if self._pod["spec"]["restartPolicy"] != "Never":
                    state.last, state.state = (
                        state.state,
                        {"waiting": {"reason": "ContainerCreating"}},
                    )
                    state.restarts += 1

    async def _mount(self) -> None:
        pause, longest = _MOUNT_RETRY
        while True:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                volumes.fill(self._pod, self._folder, self._find)
            except Unmounted as error:
                self._machine.events.tell(
                    self._pod, "FailedMount", str(error), source="kubelet", warning=True
                )
                await self._machine.clock.sleep(pause)
                pause = min(longest, pause * 2)
            else:
                return

    async def _until_told(self) -> None:
        """Return when it is to end: it is deleted, or its time is over."""
        clock = self._machine.clock
        while not self._pod["metadata"].get("deletionTimestamp"):
            self._changed.clear()
            deadline = self._pod["spec"].get("activeDeadlineSeconds")
            if deadline is None:
                await self._changed.wait()
                continue
            left = parse(self._started) + deadline - clock.now()
            if left <= 0:
                self._failure = _DEADLINE
                self._machine.events.tell(self._pod, *_DEADLINE, source="kubelet")
                return
            try:
                with clock.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _stop(self, living: asyncio.Task[None]) -> None:
        """Have every container end within the grace period, which may be shortened meanwhile."""
        ending = asyncio.get_running_loop().create_task(self._stop_within(self._grace()))
        grace = self._grace()
        while not ending.done():
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait({ending, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            if not ending.done() and self._grace() < grace:
                grace = self._grace()
                self._machine.spawn(self._kill_after(grace))
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)

    def _grace(self) -> float:
        metadata, own = self._pod["metadata"], self._pod["spec"]["terminationGracePeriodSeconds"]
        return float(metadata.get("deletionGracePeriodSeconds", own))

    async def _stop_within(self, grace: float) -> None:
        await asyncio.gather(*(one.stop(grace) for one in self._containers.values()))

    async def _kill_after(self, seconds: float) -> None:
        await self._machine.clock.sleep(seconds)
        for container in self._containers.values():
            container.kill()

    def _publish(self) -> None:
        """Write its status, if it has changed."""
        self._pod = self._machine.registry.store.get(POD, self._key) or self._pod
        status = pod_status(
            self._pod,
            self._init,
            self._states,
            now=self._machine.clock.stamp(),
            started=self._started,
            host=self._host,
            address=self._address,
            failure=self._failure,
        )
        written = self._machine.registry.write(
            POD, *self._key, {"status": status}, uid=uid_of(self._pod)
        )
        if written is not None:
            self._pod = written

    def _remove(self) -> None:
        """Tell the API server that nothing of it is left."""
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid_of(self._pod)}}
        try:
            self._machine.registry.delete(POD, *self._key, options)
        except Refusal:  # somebody forced it
            return

    def _find(self, kind: Kind, name: str) -> Manifest | None:
        return self._machine.registry.store.get(kind, (namespace_of(self._pod), name))

    @property
    def _key(self) -> tuple[str, str]:
        return namespace_of(self._pod), name_of(self._pod)


def _created(spec: Manifest, reason: str) -> ContainerState:
    return ContainerState(spec, {"waiting": {"reason": reason}})
