"""A replica that is killed after one of its writes, and what the cluster has then."""

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from multiprocessing.connection import wait
from typing import Any

from attrs import evolve, frozen

from podfleet import Fleet, FleetGroup
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of, labels_of, name_of, uid_of
from podfleet.model.names import FLEET, REVISION, SESSION
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.slots import has_slots, sessions_of
from podfleet.testing import FaultyApi, TestCluster
from podfleet.testing.cluster import eventually
from tests.live.operations import OPERATIONS
from tests.live.scenes import OTHER
from tests.live.stage import HURRY, Operation, Stage

__all__ = ["Kill", "Left", "Moment", "Sight", "fleets_of", "run"]

_PATIENCE = 90.0  # seconds for one operation
_MENDED = 60.0  # seconds until all is as it ought to be
_PAUSE = (0.1, 1.5)  # seconds between two looks, doubled: many look at once
_CONTEXT: Any = multiprocessing.get_context("forkserver")
# Forked from a process that has imported all this already, one starts within milliseconds.
_CONTEXT.set_forkserver_preload([__name__])
# Each start looks how all processes fare; two threads that look at one may both read its end, and
# the later one finds none.
_PROCESSES = threading.Lock()
_ISTIO = "networking.istio.io/v1"


class Moment(Enum):
    """When a process dies."""

    BEFORE_THE_ANSWER = "before the answer"
    AFTER_THE_ANSWER = "after the answer"


@frozen
class Kill:
    """After which write a process dies, and when.

    Args:
        write: 1 for its first.
        moment: Before it has the API server's answer, or when it has.
    """

    write: int
    moment: Moment

    def __str__(self) -> str:
        return f"killed at write {self.write}, {self.moment.value}"


def run(name: str, stage: Stage, kill: Kill | None) -> tuple[int, bool]:
    """Have a process carry out an operation; return its writes, and whether it was killed.

    Args:
        name: The operation's.
        stage: Where.
        kill: When it is killed, if it is.
    """
    writes = [0]
    process: Any = None

    def at(moment: Moment) -> Callable[[int], None]:
        def reached(number: int) -> None:
            writes[0] = max(writes[0], number)
            if kill == Kill(number, moment):
                with _PROCESSES:
                    process.kill()

        return reached

    proxy = FaultyApi(
        stage.kubeconfig,
        after_write=at(Moment.BEFORE_THE_ANSWER),
        after_answer=at(Moment.AFTER_THE_ANSWER),
    )
    with proxy.kubeconfig(stage.kubeconfig) as through:
        process = _CONTEXT.Process(
            target=_play, args=(name, evolve(stage, kubeconfig=through)), daemon=True
        )
        with _PROCESSES:
            process.start()
        ended = wait([process.sentinel], _PATIENCE)
        with _PROCESSES:
            if not ended:
                process.kill()
            process.join()
            code = process.exitcode
    assert ended, f"{name}: its process had not ended after {_PATIENCE:g} s"
    assert code in (0, -9), f"{name}: its process ended with {code}: see its stderr"
    return writes[0], code != 0


def _play(name: str, stage: Stage) -> None:
    for module, constant, seconds in HURRY:
        setattr(module, constant, seconds)
    OPERATIONS[name].act(stage)


def fleets_of(face: Fleet | FleetGroup) -> Sequence[Fleet]:
    """Return a fleet, or a group's."""
    return face.fleets if isinstance(face, FleetGroup) else (face,)


@frozen
class Left:
    """What a namespace has.

    Args:
        servers: Each server, in a word or two.
        wrong: What should not be there.
    """

    servers: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    def is_one_of(self, operation: Operation) -> bool:
        """Return whether an operation may have left this."""
        allowed = (operation.left, operation.done, *operation.between)
        return not self.wrong and self.servers in allowed

    def has_no(self, session: str) -> bool:
        """Return whether a session has ended, and its server is gone or another's."""
        words = {word.partition(":")[0] for word in " ".join(self.servers).split()}
        return not self.wrong and not {"going", session} & words


@frozen
class Sight:
    """A namespace with one fleet, or group, as its administrator sees it.

    Args:
        cluster: The cluster.
        namespace: The namespace.
        face: The fleet, or group.
        istio: Whether the cluster has Istio's kinds.
    """

    cluster: TestCluster
    namespace: str
    face: Fleet | FleetGroup
    istio: bool

    def until(self, accepts: Callable[[Left], bool]) -> Left:
        """Return what there is as soon as that is accepted.

        Raises:
            AssertionError: It never was.
        """
        deadline = time.monotonic() + _MENDED
        pause = _PAUSE[0]
        while not accepts(left := self.look()):
            assert time.monotonic() < deadline, f"left: {left.servers}, wrong: {left.wrong}"
            time.sleep(pause)
            pause = min(_PAUSE[1], 2 * pause)
        return left

    def look(self) -> Left:
        """Return what there is."""
        kinds = {"services": "v1", "secrets": "v1", "configmaps": "v1"}
        kinds |= {"leases": "coordination.k8s.io/v1", "statefulsets": "apps/v1"}
        if self.istio:
            kinds |= {"virtualservices": _ISTIO, "gateways": _ISTIO}
        found = {
            plural: self.cluster.objects(api_version, plural, self.namespace)
            for plural, api_version in kinds.items()
        }
        pods = {uid_of(pod): pod for pod in self._pods()}
        revisions = {fleet.name: fleet.revision for fleet in fleets_of(self.face)}
        servers = sorted(_word(pod, revisions) for pod in pods.values())
        return Left(tuple(servers), tuple(_wrong(found, pods, self.face)))

    def check_whole(self) -> None:
        """Check that each allocated server has its own objects, and each number a server."""
        for fleet in fleets_of(self.face):
            spec = fleet.own().spec
            for pod in self._pods(fleet.name):
                if claim_state(pod) is ClaimState.ALLOCATED:
                    for one in spec.exposure.server_objects(pod, spec.template):
                        shown, plural = one.manifest, one.plural
                        self.cluster.get(
                            shown["apiVersion"], plural, self.namespace, name_of(shown)
                        )
            eventually(partial(self._numbers_have_servers, fleet))  # but for one in the making

    def _numbers_have_servers(self, fleet: Fleet) -> bool:
        strategy = fleet.exposure
        pods = self._pods(fleet.name)
        held = {number for pod in pods for number in strategy.held_ports(pod)}
        return strategy.pool is None or set(strategy.pool.in_use) == held

    def _pods(self, fleet: str | None = None) -> list[Manifest]:
        pods = self.cluster.objects("v1", "pods", self.namespace)
        return [pod for pod in pods if fleet in (None, labels_of(pod)[FLEET])]


def _word(pod: Manifest, revisions: dict[str, str]) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "going"
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return "ended"
    state = claim_state(pod)
    if state is ClaimState.UNCLAIMED:
        labels = labels_of(pod)
        present = revisions[labels[FLEET]]
        return "free" if labels.get(REVISION, present) == present else "outdated"  # adopted
    if state is not ClaimState.ALLOCATED:
        return "no state" if state is None else state.value
    slots = sessions_of(pod)
    named = sorted(f"{one}:{slots[one]}" if has_slots(pod) else one for one in slots)
    return " ".join(["allocated", *named])


def _wrong(
    found: dict[str, list[Manifest]], pods: dict[str, Manifest], face: Fleet | FleetGroup
) -> Iterator[str]:
    """Yield what should not be there."""
    alone = set(_alone(face))
    registered = set()
    for plural, objects in found.items():
        for shown in objects:
            what = f"{plural}/{name_of(shown)}"
            owners = [one["uid"] for one in shown["metadata"].get("ownerReferences") or ()]
            if not owners:
                if what not in alone:
                    yield f"{what} belongs to nothing"
                continue
            pod = pods.get(owners[0])
            session = annotations_of(shown).get(SESSION)
            if pod is None:
                yield f"{what} has outlived its Pod"
            elif plural == "leases" and session is not None:
                registered.add(session)
                if session not in sessions_of(pod):
                    yield f"{what} registers {session} with {name_of(pod)}, which does not serve it"
    serving = Counter(session for pod in pods.values() for session in sessions_of(pod))
    for session, count in serving.items():
        if count > 1:
            yield f"{session} has {count} servers"
        if session not in registered and not session.startswith("~"):
            yield f"{session} has a server, and no registration"


def _alone(face: Fleet | FleetGroup) -> Iterator[str]:
    """Yield what belongs to no Pod: the fleets' own, and what Kubernetes makes."""
    yield "configmaps/kube-root-ca.crt"
    yield f"leases/{OTHER}-tender"
    for fleet in fleets_of(face):
        yield f"leases/{fleet.name}-tender"
        spec = fleet.own().spec
        if spec.workload is not None:
            yield f"statefulsets/{spec.workload.name or fleet.name}"
        for one in spec.shared:
            yield f"{one.plural}/{name_of(one.manifest)}"
