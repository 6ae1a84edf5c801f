"""A roll-out, step by step: never fewer ready than promised, never more than allowed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podfleet import ConfigurationError, Rollout
from podfleet.fleet.tending.rolling import next_step

AMOUNTS = st.integers(0, 8) | st.integers(0, 100).map(lambda share: f"{share}%")


@given(AMOUNTS, AMOUNTS, st.integers(0, 30), st.integers(0, 40), st.randoms())
def test_it_keeps_the_limits_and_comes_to_its_end(
    surge: int | str, unavailable: int | str, wanted: int, old: int, chance: random.Random
) -> None:
    try:
        rollout = Rollout(surge=surge, unavailable=unavailable)
    except ConfigurationError:
        return  # both are nothing
    most = max(wanted + rollout.surge_of(wanted), old)
    least = min(wanted - rollout.unavailable_of(wanted), old)
    new = new_ready = 0
    for _ in range(1000):
        step = next_step(
            rollout, wanted=wanted, new=new, new_ready=new_ready, old=old, old_ready=old
        )
        assert 0 <= step.remove <= old
        new, old = new + step.create, old - step.remove
        assert new + old <= most
        assert new_ready + old >= least
        new_ready += chance.randint(0, new - new_ready)
        if not old and new == wanted:
            return
    raise AssertionError("it does not come to its end")


def test_a_share_of_few_is_one_at_least_by_default() -> None:
    assert Rollout().surge_of(1) == 1
    assert Rollout().surge_of(0) == 0
    step = next_step(Rollout(), wanted=0, new=0, new_ready=0, old=3, old_ready=3)
    assert (step.create, step.remove) == (0, 3)


def test_servers_that_are_not_ready_are_in_nobodys_way() -> None:
    step = next_step(Rollout(), wanted=4, new=0, new_ready=0, old=4, old_ready=1)
    assert (step.create, step.remove) == (1, 3)


def test_failing_it_replaces_nothing() -> None:
    step = next_step(
        Rollout(surge=2), wanted=4, new=1, new_ready=1, old=4, old_ready=1, failing=True
    )
    assert (step.create, step.remove) == (1, 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"surge": -1}, "Rollout.surge: -1: "),
        ({"surge": "many"}, "Rollout.surge: 'many': must be '0%' to '999%'"),
        ({"surge": 0}, "nothing could be replaced"),
        ({"surge": "0%", "unavailable": "0%"}, "nothing could be replaced"),
    ],
)
def test_limits_that_cannot_be_are_refused(settings: dict[str, int | str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Rollout(**settings)
