"""What waits for a server ends as soon as that server has."""

import asyncio
from typing import Any, cast

import pytest

from podfleet import ServerFailed, TransportError
from podfleet.kube import KubeClient, Store
from podfleet.waiters.lifeline import Lifeline
from podfleet.waiters.watching import is_deleted
from tests.unit.pods import Json, a_pod, container_status, ready_pod, terminated, waiting


class Unreachable:
    """A client that reads neither events nor logs."""

    async def get(self, *_: Any) -> Any:
        raise TransportError("no route")

    text = get


CLIENT = cast("KubeClient", Unreachable())


def shown(store: Store, pod: Json, version: int) -> Json:
    pod["metadata"]["resourceVersion"] = str(version)
    store.observe(pod)
    return pod


def with_state(state: Json, policy: str) -> Json:
    return a_pod(container_status(state), phase="Running", restartPolicy=policy)


def going() -> Json:
    pod = ready_pod()
    pod["metadata"]["deletionTimestamp"] = "2026-11-23T04:00:00Z"
    return pod


async def wait_for(change: Json | None, *, in_match: bool = False, again: float = 0.0) -> str:
    """Return how a long wait ends after a change of its Pod."""
    store = Store()
    pod = shown(store, ready_pod(), 1)
    loop = asyncio.get_running_loop()
    if change is None:
        loop.call_later(0.15, store.forget, pod)
    else:
        loop.call_later(0.15, shown, store, change, 2)
    try:
        async with asyncio.timeout(3), Lifeline(CLIENT, store, pod, in_match=in_match):
            await asyncio.sleep(again or 60)
            return "done"
    except ServerFailed as error:
        return "deleted" if is_deleted(error) else f"exit {error.diagnosis.exit_code}"


@pytest.mark.parametrize("in_match", [False, True])
@pytest.mark.parametrize(
    ("change", "how"),
    [
        (with_state(terminated(3), "Never"), "exit 3"),
        (with_state(terminated(0), "OnFailure"), "exit 0"),
        (going(), "deleted"),
        (None, "deleted"),
    ],
)
def test_it_is_cut_at_once_when_its_server_ends(
    change: Json | None, how: str, in_match: bool
) -> None:
    async def play() -> float:
        began = asyncio.get_running_loop().time()
        assert await wait_for(change, in_match=in_match) == how
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(play()) < 1.0


@pytest.mark.parametrize(
    "change",
    [
        ready_pod(),
        with_state(terminated(3), "Always"),
        with_state(waiting("CrashLoopBackOff"), "Always"),
    ],
)
def test_a_match_that_begins_anew_cuts_nothing(change: Json) -> None:
    assert asyncio.run(wait_for(change, in_match=True, again=0.5)) == "done"


def test_what_is_quick_is_not_watched() -> None:
    async def play() -> None:
        store = Store()
        pod = shown(store, ready_pod(), 1)
        async with Lifeline(CLIENT, store, pod):
            before = len(asyncio.all_tasks())
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == before == 1

    asyncio.run(play())


def test_a_caller_that_is_cancelled_stays_cancelled() -> None:
    async def play() -> None:
        task = asyncio.create_task(wait_for(ready_pod()))
        async with asyncio.timeout(3):
            while len(asyncio.all_tasks()) < 3:  # this one, the caller, and what watches
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(play())
