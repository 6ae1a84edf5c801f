"""A game that seeds `random`, for its matches to be the same again."""

import random

from podfleet import Fleet
from podfleet.testing import Fault
from tests.cluster.fixtures import Backend
from tests.live.arena import make
from tests.live.faults import faulty
from tests.live.test_warm import until_ready


def test_nothing_is_taken_from_the_programs_own_sequence(backend: Backend) -> None:
    before = random.getstate()
    with faulty(backend) as (api, behind):
        api.fail(Fault("POST", r"/pods$", status=503))
        with make(Fleet, behind, ready=2) as fleet:
            until_ready(fleet, 2)
            fleet.allocate("match-1", timeout=60).release()
        assert api.faults[0].times == 0  # it paused for a random time
    assert random.getstate() == before
