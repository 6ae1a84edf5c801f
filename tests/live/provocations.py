"""What provokes each error through the command: a scene, and the arguments."""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from podfleet import Fleet, HeadlessDNS, NodePortPerPod, errors
from podfleet.errors import Invalid, NotFound, PodfleetError
from podfleet.fleet.claiming.claim import Claim
from podfleet.kube.paths import pods
from podfleet.testing import Fault, FaultyApi
from tests.cluster.fixtures import Backend
from tests.live.arena import make
from tests.live.command import Desk
from tests.live.faults import faulty
from tests.live.test_warm import until_ready

__all__ = ["PROVOCATIONS", "UNPROVOKED", "Provocation", "scene"]

ALWAYS = 10**6  # times
PODS = "/pods"

GAMES = """
from podfleet import *
import game

shape = game.fleet.own().spec.template


def of(exposure=None, name="arena", **change):
    template = GameServerTemplate(**{"image": shape.image, "ports": shape.ports, **change})
    return Fleet(name, template=template, exposure=exposure or HeadlessDNS())


class OneLobby(ExposureStrategy):
    def server_objects(self, pod, template):
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "lobby"},
            "spec": {"ports": [{"port": 7777}]},
        }
        return (Resource("services", service),)

    def endpoints(self, pod, template, view):
        return (Endpoint("play.example.com", 7777),)


healthz = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}
asked = {"spec": {"containers": [{"name": "server", "readinessProbe": healthz}]}}

failing = of(image="No/Thing")
late = of(pod=asked, env={"NEVER_READY": "yes"})
lobby = of(OneLobby())
one_port = of(
    HostPort(PortPool(26900, 26900), address=NodeAddress(internal=True)),
    node_selector={"kubernetes.io/hostname": "node-a"},
)
waiting = of(node_selector={"nowhere": "yes"})
wrong = of(pod={"spec": {"restartPolicy": "Sometimes"}})
group = FleetGroup("any", [failing, of(name="duel", image="No/Where")])
"""


@frozen
class Scene:
    """Where an error is provoked.

    Args:
        backend: The place in the cluster, by way of the proxy.
        api: The proxy.
        desk: Where the user sits.
        stack: Ends what goes on meanwhile.
    """

    backend: Backend
    api: FaultyApi
    desk: Desk
    stack: ExitStack

    def config(self, change: Callable[[Any], object]) -> None:
        """Change the kubeconfig."""
        config = json.loads(self.backend.kubeconfig.read_text())
        change(config)
        self.backend.kubeconfig.write_text(json.dumps(config))


@contextmanager
def scene(backend: Backend, folder: Path) -> Iterator[Scene]:
    """Set the scene."""
    with faulty(backend) as (api, through), ExitStack() as stack:
        desk = Desk.of(through, folder)
        desk.write("games.py", GAMES)
        yield Scene(through, api, desk, stack)


@frozen
class Provocation:
    """How an error is provoked, and how it is to read.

    Args:
        error: Its class.
        arguments: The command's.
        code: The exit code.
        says: Regular expressions that match one after the other: what happened, to which object,
            what to do.
        prepare: Sets the scene.
    """

    error: type[PodfleetError]
    arguments: str
    code: int
    says: tuple[str, ...]
    prepare: Callable[[Scene], object] = lambda _: None

    def __str__(self) -> str:
        return f"{self.error.__name__}-{self.arguments.replace(' ', '-')}"


def refused(method: str, path: str, status: int) -> Callable[[Scene], object]:
    """Have the API server refuse a request, however often it is sent."""
    headers = {"Retry-After": "0"} if status == 429 else {}
    fault = Fault(method, path, ALWAYS, status, headers=headers)
    return lambda scene: scene.api.faults.append(fault)


def at(change: Callable[[str], str]) -> Callable[[Any], object]:
    """Have a kubeconfig name another server."""

    def write(config: Any) -> None:
        cluster = config["clusters"][0]["cluster"]
        cluster["server"] = change(cluster["server"])

    return write


def drained(scene: Scene) -> None:
    with make(Fleet, scene.backend, exposure=HeadlessDNS()) as fleet:
        fleet.drain()


def port_taken(scene: Scene) -> None:
    assert scene.desk.podfleet("allocate", "games:one_port").code == 0


def host_ports_forbidden(scene: Scene) -> None:
    path = f"/api/v1/namespaces/{scene.backend.namespace}"
    scene.backend.cluster.label(path, "pod-security.kubernetes.io/enforce", "baseline")


def lobby_taken(scene: Scene) -> None:
    make(Fleet, scene.backend, exposure=NodePortPerPod())  # for its rights on Services
    metadata = {"name": "lobby", "namespace": scene.backend.namespace}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
    scene.backend.cluster.apply([{**service, "spec": {"ports": [{"port": 7777}]}}])


def quota_used_up(scene: Scene) -> None:
    metadata = {"name": "small", "namespace": scene.backend.namespace}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata}
    scene.backend.cluster.apply([{**quota, "spec": {"hard": {"pods": "1"}}}])


def duel_granted(scene: Scene) -> None:
    make(Fleet, scene.backend, name="duel", exposure=HeadlessDNS())


def others_are_faster(scene: Scene) -> None:
    """Claim every server that the command is about to claim: its own claims are on their way."""
    with make(Fleet, scene.backend, exposure=HeadlessDNS(), ready=6) as fleet:
        until_ready(fleet, 6)
    scene.api.fail(Fault("PATCH", "/pods/arena-", ALWAYS, delay=0.3))
    over = threading.Event()

    def claim_all() -> None:
        cluster, namespace = scene.backend.cluster, scene.backend.namespace
        done: set[str] = set()
        while not over.wait(0.01):
            wanted = set(re.findall(r"PATCH \S+/pods/(arena-\w+)", "\n".join(scene.api.seen)))
            for name in wanted - done:
                pod = cluster.get("v1", "pods", namespace, name)
                with contextlib.suppress(Invalid, NotFound):
                    cluster.patch(pods(namespace, name), *Claim().patch(pod, datetime.now(UTC)))
            done |= wanted

    rival = threading.Thread(target=claim_all)
    rival.start()
    scene.stack.callback(rival.join)
    scene.stack.callback(over.set)


TRANSPORT = r"\. To do: look whether the API server is up, .*\.$"
PROVOCATIONS = (
    Provocation(
        errors.ConfigurationError,
        "run game:duel",
        2,
        ("^podfleet: MODULE:FLEET: 'game:duel'", "game has no 'duel'", "; it has fleet$"),
    ),
    Provocation(errors.ConfigurationError, "ls Arena", 2, ("FLEET: 'Arena'", "must be 1 to 52 ")),
    Provocation(errors.ConfigurationError, "ls -n a/b", 2, ("--namespace: 'a/b'", "must be 1 to")),
    Provocation(
        errors.ConfigurationError,
        "allocate game:fleet --timeout 0",
        2,
        (r"timeout: 0\.0: must be a number of seconds above 0",),
    ),
    Provocation(
        errors.ConfigurationError,
        "ls --kubeconfig missing",
        2,
        ("'missing': does not exist", ": name a kubeconfig file$"),
    ),
    Provocation(
        errors.ConfigurationError,
        "ls --context production",
        2,
        (r"kubeconfig': has no context 'production'", ": it has test$"),
    ),
    Provocation(
        errors.NotFound,
        "describe arena-none",
        3,
        ("there is no server podfleet-test-", "/arena-none", ": podfleet ls lists those there are"),
    ),
    Provocation(
        errors.NotFound,
        "release game:fleet -s match-1",
        3,
        ("session match-1 has no server in arena", ": podfleet ls lists those there are"),
    ),
    Provocation(
        errors.NotFound,
        "release game:fleet arena-none",
        3,
        ("arena has no server arena-none", ": podfleet ls lists those there are"),
    ),
    Provocation(
        errors.ApiError,
        "ls",
        1,
        ("GET /api/v1/namespaces/.*/pods", "answers 418", "To do: look what answers there: "),
        refused("GET", PODS, 418),
    ),
    Provocation(
        errors.AlreadyExists,
        "allocate games:lobby",
        1,
        ("Service .*/lobby exists", "not Pod arena-.*'s", ": remove it, or rename the fleet"),
        lobby_taken,
    ),
    Provocation(
        errors.Conflict,
        "allocate game:fleet",
        1,
        ("POST /api/v1/namespaces/.*/pods", "answers 409", "To do: try again: others write the"),
        refused("POST", PODS, 409),
    ),
    Provocation(
        errors.Gone,
        "ls",
        1,
        ("GET /api/v1/namespaces/.*/pods", "answers 410", "To do: try again: "),
        refused("GET", PODS, 410),
    ),
    Provocation(
        errors.Invalid,
        "allocate games:wrong",
        1,
        ('Pod "arena-.*" is invalid: spec.restartPolicy', "To do: change .* in the template"),
    ),
    Provocation(
        errors.Unauthorized,
        "ls",
        6,
        ("answers 401", "To do: check the credentials of the kubeconfig or the service account"),
        refused("GET", PODS, 401),
    ),
    Provocation(
        errors.Forbidden,
        "ls -n default",
        6,
        ('cannot list resource "pods" .* in the namespace "default"', r"apply what fleet\.manif"),
    ),
    Provocation(
        errors.Forbidden,
        "allocate game:fleet -n default",
        6,
        ('cannot list resource "pods" .* in the namespace "default"', r"apply what fleet\.manif"),
    ),
    Provocation(
        errors.AdmissionRefused,
        "allocate games:one_port",
        6,
        ('pods "arena-.*" is forbidden: violates PodSecurity', "To do: kubectl label --overwrite"),
        host_ports_forbidden,
    ),
    Provocation(
        errors.Throttled,
        "ls",
        7,
        ("GET .*/pods: .* answers 429", "To do: ask less often"),
        refused("GET", PODS, 429),
    ),
    Provocation(
        errors.ServerError,
        "ls",
        7,
        ("GET .*/pods: .* answers 503", "To do: try again; if it stays, look at the control plane"),
        refused("GET", PODS, 503),
    ),
    Provocation(
        errors.TransportError,
        "ls",
        7,
        (r"GET .*/pods: no connection to 127\.0\.0\.1:1: connection refused", TRANSPORT),
        lambda scene: scene.config(at(lambda _: "http://127.0.0.1:1")),
    ),
    Provocation(
        errors.TransportError,
        "ls",
        7,
        (r"GET .*/pods: no connection to 127\.0\.0\.1:\d+: TLS failed: \w+", TRANSPORT),
        lambda scene: scene.config(at(lambda url: url.replace("http:", "https:"))),
    ),
    Provocation(
        errors.AllocationTimeout,
        "allocate game:fleet --timeout 2",
        4,
        (
            "^podfleet: fleet arena: no server within 2 s: fleet arena was still being started: ",
            r"GET .*/pods had not been answered for [12]\.\d s$",
        ),
        lambda scene: scene.api.fail(Fault("GET", PODS, ALWAYS, silent=True)),
    ),
    Provocation(
        errors.Exhausted,
        "allocate games:waiting --timeout 2",
        4,
        ("^podfleet: fleet arena: .*/arena-.*: no server within 2 s: ", "label a node"),
    ),
    Provocation(
        errors.QuotaExceeded,
        "bench game:fleet",
        4,
        ("POST .*/pods: .*exceeded quota: small", "To do: raise the quota, or release servers"),
        quota_used_up,
    ),
    Provocation(
        errors.WaitTimeout,
        "bench games:late --servers 1 --timeout 10",
        4,
        ("/arena-bench-.* is not ready after 10 s: ", "readiness probe .* fails: .*: mend what it"),
    ),
    Provocation(
        errors.PortPoolExhausted,
        "allocate games:one_port --timeout 3",
        4,
        (r"no server within 3 s: .*PortPool\(26900, 26900\)", "widen the pool, add a node or"),
        port_taken,
    ),
    Provocation(
        errors.Contended,
        "allocate game:fleet --timeout 6",
        4,
        (r"fleet arena: no server within 6 s: \d+ servers could not be had: ", ": try again$"),
        others_are_faster,
    ),
    Provocation(
        errors.FleetDraining,
        "allocate game:fleet",
        4,
        (r"fleet arena: it is drained since 2\d+-", r"fleet\.reopen\(\) puts it back"),
        drained,
    ),
    Provocation(
        errors.AllocationTimeout,
        "allocate games:late --timeout 3",
        4,
        (
            r"fleet arena: .*/arena-.*: no server within 3 s: ",
            r"its readiness probe \(HTTP GET /healthz on port 8080\) fails: .*: mend what it asks",
        ),
    ),
    Provocation(
        errors.ServerFailed,
        "allocate games:failing",
        5,
        ("/arena-.*: InvalidImageName: 'No/Thing', the image of .*, is no valid image name: corr",),
    ),
    Provocation(
        errors.ServerFailed,
        "allocate games:group",
        5,
        ("/arena-.*: InvalidImageName: 'No/Thing'", "\nand: .*/duel-.*: InvalidImageName: 'No/Wh"),
        duel_granted,
    ),
)

UNPROVOKED: dict[type[PodfleetError], str] = {
    PodfleetError: "the root: each of its kinds says more",
    errors.AllocationError: "of reservations, which no command makes; each of its kinds says more",
    errors.DrainEnded: "of drain, which no command calls",
    errors.RangeFull: "allocate tells it as Exhausted",
    errors.ServerUnreachable: "of allow_unreachable=False, which no command passes",
}
"""Errors that no command ends with, and why."""
