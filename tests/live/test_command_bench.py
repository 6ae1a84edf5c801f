"""`podfleet bench`: what it tells, and that nothing of it is left on the user's cluster."""

import json
import re
import signal
from pathlib import Path

import pytest

from podfleet import Fleet, HeadlessDNS
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make
from tests.live.command import Desk
from tests.live.test_run import ended

pytestmark = pytest.mark.alone  # it counts on a node that has nothing else to start

SMALL = ("bench", "game:fleet", "--count", "7", "--servers", "3")


def test_it_compares_with_plain_patches_and_leaves_nothing(
    backend: Backend, tmp_path: Path
) -> None:
    desk = Desk.of(backend, tmp_path, ready=2)
    with make(Fleet, backend, exposure=HeadlessDNS()) as fleet:
        own = fleet.allocate("match-1", timeout=60)
        answer = desk.podfleet(*SMALL, "--in-flight", "2")
        assert answer.code == 0, answer.err
        plan, *_, deleting = answer.err.splitlines()
        assert plan == (
            "making 6 Pods of the template of fleet arena in namespace "
            f"{backend.namespace}: 3 servers of fleet arena-bench, which are allocated 7 times, "
            "and as many of no fleet, which are patched. They are deleted at the end, and after "
            "Ctrl-C"
        )
        assert deleting == "deleting the Pods"
        title, _, head, patch, allocate, ratio = answer.out.splitlines()
        assert title == "fleet arena: 7 allocations of 3 warm servers, 2 in flight"
        assert head.split() == ["P50", "P99", "RATE"]
        for row, name in ((patch, "PATCH"), (allocate, "allocate")):
            assert re.fullmatch(rf"{name} +\d+\.\d\d ms +\d+\.\d\d ms +\d+/s", row), row
        assert re.fullmatch(r"ratio +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d", ratio)
        eventually(lambda: [pod["metadata"]["name"] for pod in backend.pods()] == [own.name])
        assert fleet.find("match-1") == own
    leases = backend.objects("coordination.k8s.io/v1", "leases")
    assert not [one for one in leases if "bench" in one["metadata"]["name"]]


def test_it_tells_programs(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    answer = desk.podfleet(*SMALL, "-o", "json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert {name: told[name] for name in ("fleet", "count", "in_flight", "servers")} == {
        "fleet": "arena",
        "count": 7,
        "in_flight": 1,
        "servers": 3,
    }
    for name in ("p50", "p99", "rate"):
        assert told["ratio"][name] == pytest.approx(told["allocate"][name] / told["patch"][name])
    assert 0 < told["allocate"]["p50"] <= told["allocate"]["p99"] < 60


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["making", "of 9999 allocations"])
def test_told_to_end_it_deletes_what_it_made(
    backend: Backend, tmp_path: Path, told: signal.Signals, moment: str
) -> None:
    desk = Desk.of(backend, tmp_path)
    much = ("--count", "9999" if "9999" in moment else "10000", "--servers", "20")
    with desk.running("bench", "game:fleet", *much) as process:
        assert process.stderr is not None
        if moment == "making":
            eventually(backend.pods)
        else:
            eventually(lambda: claimed(backend))
        process.send_signal(told)
        code, out, err = ended(process)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "deleting the Pods"
    eventually(lambda: not backend.pods())


def claimed(backend: Backend) -> bool:
    """Return whether a server of the benchmark has been allocated."""
    notes = [pod["metadata"].get("annotations", {}) for pod in backend.pods()]
    return any(int(one.get("podfleet.dev/turn", "0")) > 2 for one in notes)


def test_what_a_killed_one_left_is_told_and_not_touched(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    with desk.running("bench", "game:fleet", "--servers", "2", "--count", "10000") as process:
        eventually(lambda: len(backend.pods()) == 4)
        process.kill()
        process.wait(30)
    left = backend.pods()
    assert {pod["spec"]["activeDeadlineSeconds"] for pod in left} == {3600}
    answer = desk.podfleet(*SMALL)
    assert (answer.code, answer.out) == (2, "")
    command = f"kubectl delete pods -n {backend.namespace} -l podfleet.dev/bench=arena-bench"
    assert answer.err.splitlines()[-1].endswith(command)
    assert len(backend.pods()) == 4


MORE = """
from game import *

group = FleetGroup("all", [fleet])
shape = fleet.own().spec.template
of_a_set = Fleet("duel", template=shape, exposure=HeadlessDNS(), workload=StatefulSet())
broken = GameServerTemplate(image="No/Thing", ports=shape.ports)
failing = Fleet("arena", template=broken, exposure=HeadlessDNS())
"""


def test_what_cannot_be_measured_is_told_and_leaves_nothing(
    backend: Backend, tmp_path: Path
) -> None:
    desk = Desk.of(backend, tmp_path)
    desk.write("more.py", MORE)
    for arguments, code, said in (
        (("more:group",), 2, "is a group: name one of its fleets"),
        (("more:of_a_set",), 2, "its servers are a StatefulSet's"),
        (("game:fleet", "--in-flight", "4", "--servers", "3"), 2, "at most as many as --servers"),
        (("game:fleet", "--plot", "no/where.svg"), 2, "there is no folder no"),
        (("game:fleet", "--plot", "here.txt"), 2, "must end in one of "),
        (("more:failing", "--servers", "1"), 5, "InvalidImageName"),
    ):
        answer = desk.podfleet("bench", *arguments)
        assert (answer.code, answer.out) == (code, ""), answer.err
        assert said in answer.err
        assert "Traceback" not in answer.err
    eventually(lambda: not backend.pods())


def test_it_draws_a_picture(backend: Backend, tmp_path: Path) -> None:
    desk = Desk.of(backend, tmp_path)
    answer = desk.podfleet(*SMALL, "--plot", "bench.svg")
    assert answer.code == 0, answer.err
    drawn = (tmp_path / "bench.svg").read_text()
    for words in ("milliseconds", "allocate: ", "PATCH: ", "fleet arena: 7 allocations"):
        assert f"<!-- {words}" in drawn
