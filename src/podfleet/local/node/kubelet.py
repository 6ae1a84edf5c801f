"""`Kubelet`: runs the Pods of one Node."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from podfleet.local.node.machine import Machine
from podfleet.local.node.pod import PodWorker
from podfleet.local.objects.kinds import POD
from podfleet.local.objects.statuses import Refusal, bad_request, not_implemented
from podfleet.local.objects.store import Change
from podfleet.model import Manifest
from podfleet.model.manifest import name_of, namespace_of, uid_of

__all__ = ["Kubelet"]

_LOOK = 0.05  # seconds between two looks at a log that is followed


class Kubelet:
    """Starts a worker for every Pod that is bound to its Node.

    Args:
        node: The Node's name.
        host: The Node's address.
        machine: What all share.
    """

    def __init__(self, node: str, host: str, machine: Machine) -> None:
        self._node = node
        self._host = host
        self._machine = machine
        self._workers: dict[str, PodWorker] = {}
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        """Run what is bound here, and what will be."""
        self._unlisten = self._machine.registry.store.listen(self._follow)
        for pod in self._machine.registry.store.all(POD):
            if pod["spec"].get("nodeName") == self._node:
                self._begin(pod, lost=bool(pod["status"].get("startTime")))

    async def stop(self) -> None:
        """Vanish, with all that runs here."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        workers, self._workers = list(self._workers.values()), {}
        await asyncio.gather(*(worker.vanish() for worker in workers))

    def kill(self, pod: Manifest, container: str | None, *, out_of_memory: bool) -> bool:
        """Have a container of a Pod die; ``False`` if it does not run here."""
        worker = self._workers.get(uid_of(pod))
        return worker is not None and worker.kill(container, out_of_memory=out_of_memory)

    def has(self, pod: Manifest) -> bool:
        """Return whether it runs this Pod."""
        return uid_of(pod) in self._workers

    def log(self, pod: Manifest, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Return what a container printed, as a query asks for it.

        Raises:
            Refusal: There is no such container, or it has not started.
        """
        for asked in ("sinceSeconds", "sinceTime", "timestamps"):
            if query.get(asked, "false") != "false":
                raise not_implemented(f"times of a log's lines ({asked})")
        names = [one["name"] for one in pod["spec"]["containers"]]
        init = [one["name"] for one in pod["spec"].get("initContainers") or []]
        container = query.get("container") or names[0]
        pod_name = pod["metadata"]["name"]
        if not query.get("container") and len(names) > 1:
            listed = " ".join(names)
            raise bad_request(
                f"a container name must be specified for pod {pod_name}, choose one of: [{listed}]"
            )
        if container not in (*names, *init):
            raise bad_request(f"container {container} is not valid for pod {pod_name}")
        worker = self._workers.get(uid_of(pod))
        previous = query.get("previous") in ("true", "1")
        found = worker.log(container, previous=previous) if worker else None
        if worker is None or found is None:
            if previous:
                raise bad_request(
                    f'previous terminated container "{container}" in pod "{pod_name}" not found'
                )
            raise bad_request(
                f'container "{container}" in pod "{pod_name}" is waiting to start: '
                f"{_reason(pod, container)}"
            )
        path, run = found
        follow = query.get("follow") in ("true", "1")

        def goes_on() -> bool:
            return follow and worker.follows(container, run)

        return _read(path, goes_on, query)

    def _follow(self, change: Change) -> None:
        if change.kind != POD:
            return
        if change.after is None:
            assert change.before is not None
            worker = self._workers.pop(uid_of(change.before.manifest), None)
            if worker is not None:
                self._machine.spawn(self._end(worker))
            return
        pod = change.after.manifest
        if pod["spec"].get("nodeName") != self._node:
            return
        worker = self._workers.get(uid_of(pod))
        if worker is None:
            self._begin(pod, lost=False)
        else:
            worker.take(pod)

    def _begin(self, pod: Manifest, *, lost: bool) -> None:
        if pod["status"].get("phase") not in ("Succeeded", "Failed"):
            self._workers[uid_of(pod)] = PodWorker(pod, self._machine, self._host, lost=lost)
        elif pod["metadata"].get("deletionTimestamp"):
            # Its worker went with the Node, and could not tell that nothing of it is left.
            self._machine.spawn(self._remove(pod))

    async def _remove(self, pod: Manifest) -> None:
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid_of(pod)}}
        with suppress(Refusal):  # somebody else did
            self._machine.registry.delete(POD, namespace_of(pod), name_of(pod), options)

    @staticmethod
    async def _end(worker: PodWorker) -> None:
        await worker.vanish()
        await asyncio.to_thread(shutil.rmtree, worker.folder, ignore_errors=True)


def _reason(pod: Manifest, container: str) -> str:
    statuses = pod["status"].get("containerStatuses") or []
    states = [one["state"].get("waiting") or {} for one in statuses if one["name"] == container]
    return states[0].get("reason", "ContainerCreating") if states else "ContainerCreating"


async def _read(
    path: Path, goes_on: Callable[[], bool], query: Mapping[str, str]
) -> AsyncIterator[bytes]:
    text = _read_from(path, 0)
    offset = len(text)
    if query.get("tailLines"):
        lines = text.splitlines(keepends=True)
        count = int(query["tailLines"])
        text = b"".join(lines[-count:] if count else [])
    if query.get("limitBytes"):
        text = text[: int(query["limitBytes"])]
    if text:
        yield text
    running = goes_on()
    while running:
        await asyncio.sleep(_LOOK)
        running = goes_on()  # before the look: what was printed last is read too
        more = _read_from(path, offset)
        offset += len(more)
        if more:
            yield more


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as log:
            log.seek(offset)
            return log.read()
    except FileNotFoundError:
        return b""
