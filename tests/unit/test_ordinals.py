"""Which Pods of a StatefulSet are taken, waited for, given up: by examples, and by a model."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podfleet import ConfigurationError, StatefulSet
from podfleet.fleet.sets.ordinals import by_ordinal, lowest_free, missing, reachable

STATES = ("unclaimed", "allocated", "retiring")


def pod(ordinal: int, state: str = "unclaimed", **more: Any) -> dict[str, Any]:
    """Return a Pod; ``ready``, ``ending`` and ``revision`` say more."""
    ready = "True" if more.get("ready", True) else "False"
    metadata: dict[str, Any] = {
        "name": f"arena-{ordinal}",
        "labels": {
            "podfleet.dev/state": state,
            "podfleet.dev/revision": more.get("revision", "now"),
        },
    }
    if more.get("ending"):
        metadata["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }


def numbered(*pods: dict[str, Any]) -> dict[int, Any]:
    return by_ordinal(pods, "arena")


PODS = st.builds(
    pod, st.integers(0, 9), st.sampled_from(STATES), ready=st.booleans(), ending=st.booleans()
)
FLEETS = st.lists(PODS, max_size=10).map(lambda pods: numbered(*pods))


def test_the_lowest_free_one_is_taken() -> None:
    pods = numbered(
        pod(4),
        pod(3),
        pod(2, revision="before"),
        pod(1, ready=False),
        pod(0, "allocated"),
    )
    assert lowest_free(pods, "now", wanted=()) == pod(3)
    assert lowest_free(pods, "now", wanted={"arena-3"}) == pod(4)
    assert lowest_free(pods, "now", wanted={"arena-3", "arena-4"}) is None


@given(FLEETS)
def test_nothing_is_taken_twice_or_while_it_ends(pods: dict[int, Any]) -> None:
    taken = lowest_free(pods, "now", wanted=())
    if taken is not None:
        assert taken["metadata"]["labels"]["podfleet.dev/state"] == "unclaimed"
        assert "deletionTimestamp" not in taken["metadata"]


@pytest.mark.parametrize(
    ("pods", "replicas", "waiting", "added"),
    [
        ((), 0, 1, 1),
        ((), 3, 2, 0),  # they are on their way
        ((pod(0, "allocated"),), 1, 1, 1),
        ((pod(0, "allocated", ending=True),), 1, 1, 0),  # it comes back
        ((pod(0, ready=False),), 1, 3, 2),
        ((pod(0, "retiring"),), 1, 1, 1),
        ((pod(5, "allocated"),), 1, 1, 0),  # beyond the set: about to go
    ],
)
def test_as_many_are_added_as_are_lacking(
    pods: tuple[Any, ...], replicas: int, waiting: int, added: int
) -> None:
    assert missing(numbered(*pods), replicas, waiting) == added


@given(FLEETS, st.integers(0, 12), st.integers(0, 12))
def test_scaling_down_keeps_every_allocated_server(
    pods: dict[int, Any], replicas: int, wanted: int
) -> None:
    target = reachable(pods, replicas, wanted)
    assert target <= replicas
    for ordinal, one in pods.items():
        allocated = one["metadata"]["labels"]["podfleet.dev/state"] == "allocated"
        if allocated and "deletionTimestamp" not in one["metadata"] and ordinal < replicas:
            assert ordinal < target
    if not any(
        one["metadata"]["labels"]["podfleet.dev/state"] == "allocated" for one in pods.values()
    ):
        assert target == min(replicas, wanted)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("replicas", {"replicas": -1}),
        ("replicas", {"replicas": True}),
        ("limit", {"replicas": 3, "limit": 2}),
        ("limit", {"limit": "many"}),
        ("name", {"name": "Arena"}),
        ("name", {"name": "a" * 53}),
    ],
)
def test_wrong_arguments_are_named(field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        StatefulSet(**arguments)
    assert refused.value.field == f"StatefulSet.{field}"
    assert refused.value.value == arguments[field]
