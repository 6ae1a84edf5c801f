"""Waiting until a drained fleet is empty."""

from __future__ import annotations

import asyncio
import time

from podfleet.errors import DrainEnded, WaitTimeout
from podfleet.fleet.claiming.deadline import Deadline
from podfleet.fleet.core import Core
from podfleet.kube.paths import pods
from podfleet.model import Manifest, ServerState
from podfleet.model.manifest import name_of
from podfleet.model.server import ClaimState, claim_state, server_state
from podfleet.waiters.diagnosis import is_ready

__all__ = ["until_empty"]

_PAUSE = 0.2  # seconds between two looks into memory
_NAMED = 3  # servers, in an error
_RUNNING = (
    *(ServerState.STARTING, ServerState.READY),
    *(ServerState.RESERVED, ServerState.ALLOCATED),
)


async def until_empty(core: Core, settled: float, deadline: Deadline | None) -> None:
    """Return when no match runs any more, and none can begin.

    Args:
        core: The running fleet.
        settled: When no other replica acts any more on what it knew before; on this machine's own
            clock.
        deadline: When the time is up; ``None`` for never.

    Raises:
        WaitTimeout: Servers are left.
        DrainEnded: The fleet was reopened.
    """
    try:
        async with asyncio.timeout_at(None if deadline is None else deadline.at):
            await _until_empty(core, settled)
    except TimeoutError:
        assert deadline is not None
        raise WaitTimeout(
            f"fleet {core.spec.name}: not empty within {deadline.timeout:g} s: {_left(core)}: it "
            "is drained still; drain() waits on, reopen() puts it back into service"
        ) from None


async def _until_empty(core: Core, settled: float) -> None:
    while True:
        if core.gate.since is None:
            raise DrainEnded(
                f"fleet {core.spec.name}: it was reopened while it was drained: {_left(core)}"
            )
        if _is_empty(core) and time.monotonic() >= settled:
            # Memory may be a moment behind. Whoever creates a server reads the Lease after that.
            await _read(core)
            if _is_empty(core):
                return
        await asyncio.sleep(_PAUSE)


async def _read(core: Core) -> None:
    query = {"labelSelector": core.spec.selector}
    for pod in (await core.client.get(pods(core.namespace), query))["items"]:
        core.store.observe(pod)


def _is_empty(core: Core) -> bool:
    counts = core.status.servers
    if any(counts[state] for state in _RUNNING):
        return False
    return not counts[ServerState.STOPPING] or not any(_is_in_use(pod) for pod in core.store)


def _is_in_use(pod: Manifest) -> bool:
    """Return whether a server runs; one that is stopping may do so for long, if it has a match."""
    state = server_state(pod, ready=is_ready(pod))
    if state is ServerState.STOPPING:
        return claim_state(pod) is ClaimState.ALLOCATED
    return state is not ServerState.ENDED


def _left(core: Core) -> str:
    left = [pod for pod in core.store if _is_in_use(pod)]
    matches = {name_of(pod) for pod in left if claim_state(pod) is ClaimState.ALLOCATED}
    # Those with a match first: the others go by themselves.
    names = sorted(map(name_of, left), key=lambda name: (name not in matches, name))
    named = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    words = f"{len(names)} server(s) left, {len(matches)} with a match"
    return words + (f": {named}" if names else "")
