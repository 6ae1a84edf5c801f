"""`Cluster`: the whole of it, up and down."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.cluster import cleanup, controlplane, debian, network, node
from tests.cluster.build import CLUSTER, Programs, build
from tests.cluster.credentials import Credentials
from tests.cluster.kubectl import kubectl
from tests.cluster.network import NodeNetwork
from tests.cluster.places import KUBECONFIG, LOGS, STATE, cache
from tests.cluster.process import Component

NODES = (NodeNetwork("node-a", 1), NodeNetwork("node-b", 2))
_OWNER = STATE / "owner.json"
_KEPT: dict[str, Any] = {}


class Cluster:
    """A running test cluster.

    Args:
        programs: What it is made of.
        components: What this process started; empty if another did.
    """

    def __init__(self, programs: Programs, components: list[Component]) -> None:
        self.programs = programs
        self._components = components

    @classmethod
    def up(cls, *, owned: bool) -> Self:
        """Start the cluster, unless one that is kept, or the parent process's, is running.

        Args:
            owned: It ends with this process: a later run takes it for a left-over once this
                process is gone. Otherwise it stays until `down`.
        """
        with _alone():
            debian.install()
            programs = build(*CLUSTER)
            if _in_use():
                return cls(programs, [])
            cleanup.remove_traces()
            STATE.mkdir(parents=True)
            cluster = cls(programs, [])
            try:
                cluster._start()
            except BaseException as error:
                logs = cleanup.keep_logs(LOGS, cache() / "logs")
                error.add_note(f"the components' logs: {logs}")
                cluster._end()
                raise
            _write_owner(_started_at(os.getpid()) if owned else _KEPT)
            return cluster

    @property
    def is_ours(self) -> bool:
        """Whether this process started it, and so has to end it."""
        return bool(self._components)

    def component(self, name: str) -> Component:
        """Return a program of the cluster, which this process has started."""
        return next(one for one in self._components if one.name == name)

    def is_ready(self) -> bool:
        """Return whether the API server says that it is ready."""
        return controlplane.ready(STATE / "apiserver.crt")

    def down(self) -> None:
        """End what this process started, and remove every trace."""
        with _alone():
            self._end()

    def _end(self) -> None:
        try:
            cleanup.remove_traces()  # nothing is worth a graceful end: all state goes with it
        finally:
            for component in self._components:
                component.stop()
            self._components = []

    def start_kwok(self) -> Component:
        """Start kwok: it plays every Node that has the annotation kwok.x-k8s.io/node: fake.

        It is the caller's to stop: a kept cluster outlives it.
        """
        programs = build("kwok")
        return Component(
            "kwok",
            [
                programs["kwok"],
                f"--kubeconfig={KUBECONFIG}",
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                f"--config={programs.kwok_stages}",
                "--server-address=127.0.0.1:10247",
                "--node-lease-duration-seconds=40",
            ],
        )

    def _start(self) -> None:
        started = time.monotonic()
        network.create(NODES)
        credentials = Credentials(STATE)
        credentials.add("admin", "system:masters")
        for component in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            credentials.add(f"system:{component}")
        for one in NODES:
            credentials.add(f"system:node:{one.node}", "system:nodes")
        self._components += controlplane.start(self.programs, credentials)
        with ThreadPoolExecutor() as pool:
            for components in pool.map(
                lambda one: node.start(self.programs, credentials, one), NODES
            ):
                self._components += components
        self._components[-1].wait_until(self._nodes_ready, "both nodes are ready")
        print(f"The test cluster is up after {time.monotonic() - started:.0f} s", flush=True)

    def _nodes_ready(self) -> bool:
        nodes = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        accounts = self.kubectl("get", "serviceaccounts", "-n", "default", "-o", "name")
        return len(nodes) == len(NODES) and all(map(_is_ready, nodes)) and "default" in accounts

    @property
    def kubectl_command(self) -> list[str]:
        """How kubectl is called here: its cache goes with the cluster."""
        return [str(self.programs["kubernetes"]), "kubectl", f"--cache-dir={STATE}/kubectl-cache"]

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl as the cluster's admin and return what it printed."""
        return kubectl(self.kubectl_command, KUBECONFIG, *arguments)


def _is_ready(item: dict[str, Any]) -> bool:
    conditions = item["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time start or judge a cluster."""
    # The lock is on a folder that is always there: it leaves no file, and is one for all caches.
    lock = os.open(STATE.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another process starts or stops the test cluster: waiting ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def remove() -> None:
    """Remove the cluster that is kept, or what a killed run left.

    Raises:
        RuntimeError: A test run is using it.
    """
    with _alone():
        _refuse_if_owned()
        cleanup.remove_traces()


def status() -> str:
    """Say in one sentence what is there."""
    owner = _owner()
    if not STATE.exists():
        return "No test cluster runs."
    if owner is _KEPT:
        healthy = controlplane.ready(STATE / "apiserver.crt", patience=2)
        return f"The test cluster is kept, and its API server is{'' if healthy else ' not'} ready."
    if owner and owner == _started_at(owner["pid"]):
        return f"A test run (process {owner['pid']}) has the test cluster."
    return "A run is starting the test cluster now, or was killed and left a part of it."


def _in_use() -> bool:
    """Return whether a cluster is here for this process to use, and it works.

    Raises:
        RuntimeError: Another test run has one of its own.
    """
    if _is_parents():
        return True
    _refuse_if_owned()
    if _owner() is not _KEPT:
        return False
    if controlplane.ready(STATE / "apiserver.crt", patience=20):
        return True
    print("The test cluster that was kept does not answer: starting a new one.", flush=True)
    return False


def _refuse_if_owned() -> None:
    owner = _owner()
    if owner and owner == _started_at(owner["pid"]):
        raise RuntimeError(
            f"another test run (process {owner['pid']}) has the test cluster: wait for it, or "
            "keep one cluster for both with `make cluster`"
        )


def _is_parents() -> bool:
    """Return whether it is the parent's, as it is for the workers of one test run."""
    owner = _owner()
    return bool(owner) and owner == _started_at(os.getppid())


def _write_owner(owner: dict[str, Any] | None) -> None:
    whole = _OWNER.with_suffix(".new")
    whole.write_text(json.dumps(owner))
    whole.rename(_OWNER)


def _owner() -> dict[str, Any] | None:
    """Return the process that a whole cluster belongs to, `_KEPT`, or ``None``."""
    if not _OWNER.exists():
        return None
    owner: dict[str, Any] | None = json.loads(_OWNER.read_text())
    return owner or _KEPT


def _started_at(pid: int) -> dict[str, Any] | None:
    """Return a process's id with its start time, which tells it from a later namesake."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return {"pid": pid, "start": fields[19]}
