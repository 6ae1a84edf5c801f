"""Pre-forking servers: a fleet that was made, and used, before the fork."""

import subprocess
import sys
import textwrap

from podfleet import Fleet
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make

SCRIPT = """
import os, sys
from podfleet import *
fleet = Fleet(
    "arena",
    template=GameServerTemplate(image={image!r}, ports=[Port("game", 7777, "UDP")]),
    exposure=HostPort(PortPool(26400, 26409), address=NodeAddress(internal=True)),
    namespace={namespace!r},
    cluster=Cluster(kubeconfig={kubeconfig!r}),
)
fleet.allocate(session="parent", timeout=60)
worker = os.fork()
if worker == 0:
    try:
        assert fleet.find("parent") is not None
        fleet.allocate(session="worker", timeout=60)
    except BaseException as error:
        print(error, file=sys.stderr)
        os._exit(1)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
assert fleet.find("worker") is not None  # the parent's own watch goes on
fleet.find("parent").release()
fleet.find("worker").release()
"""


def test_a_fleet_works_on_both_sides_of_a_fork(backend: Backend) -> None:
    make(Fleet, backend)  # for its rights
    script = textwrap.dedent(SCRIPT).format(
        image=backend.cluster.image,
        namespace=backend.namespace,
        kubeconfig=str(backend.kubeconfig),
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    eventually(lambda: not backend.pods())
