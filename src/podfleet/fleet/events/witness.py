"""`Witness`: reads what a server said before it ended, while its Pod is still there.

The event of an end waits for it, for three seconds at most; nothing else does: not the watch, not
a claim, not the events of other servers. Nothing is read while nobody subscribes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from attrs import evolve

from podfleet.errors import PodfleetError
from podfleet.log import about
from podfleet.model import Diagnosis, Manifest
from podfleet.model.container import Run
from podfleet.model.doubt import unreachable_since
from podfleet.model.event import EventKind, FleetEvent
from podfleet.model.manifest import name_of, uid_of
from podfleet.waiters.watching import ended_run

__all__ = ["Read", "Witness", "told"]

_log = logging.getLogger(__name__)

Read = Callable[[Manifest, Diagnosis, Run | None], Awaitable[Diagnosis]]
"""Returns a diagnosis with what the cluster and the server's log say besides."""

_AT_ONCE = 16
_TIMEOUT = 3.0  # seconds
_ENDS = (EventKind.LOST, EventKind.FAILED, EventKind.RESTARTED)


class Witness:
    """Reads the evidence for events, once for all subscribers.

    Args:
        read: Asks the cluster.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._reading: dict[tuple[object, ...], asyncio.Task[Diagnosis]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def hear(self, event: FleetEvent, pod: Manifest | None) -> asyncio.Task[Diagnosis] | None:
        """Begin to read what there is about an event; ``None`` if there is nothing to read.

        Args:
            event: The event.
            pod: The server's Pod.
        """
        if pod is None or event.kind not in _ENDS or event.diagnosis is None:
            return None
        if unreachable_since(pod) is not None:
            return None  # its node does not answer
        run = ended_run(pod) if event.kind is EventKind.RESTARTED else None
        key = (uid_of(pod), event.kind, run)
        task = self._reading.get(key)
        if task is None:
            reading = self._within_time(pod, event.diagnosis, run)
            task = self._reading[key] = asyncio.get_running_loop().create_task(reading)
            task.add_done_callback(lambda _: self._reading.pop(key, None))
        return task

    def stop(self) -> None:
        """Read no more."""
        for task in list(self._reading.values()):
            task.cancel()

    async def _within_time(self, pod: Manifest, known: Diagnosis, run: Run | None) -> Diagnosis:
        try:
            async with asyncio.timeout(_TIMEOUT), self._turns:
                return await self._read(pod, known, run)
        except (PodfleetError, TimeoutError) as error:
            _log.debug(
                "%s: its log was not read: %s",
                name_of(pod),
                error,
                extra=about(server=name_of(pod)),
            )
            return known


def told(event: FleetEvent, reading: asyncio.Task[Diagnosis]) -> FleetEvent:
    """Return an event with what was read about it, if reading it has come to an end."""
    if not reading.done() or reading.cancelled() or reading.exception() is not None:
        return event
    found, known = reading.result(), event.diagnosis
    reason = event.reason
    if known is not None and found.summary != known.summary:
        reason = reason.replace(known.summary, found.summary)
    return evolve(event, diagnosis=found, reason=reason)
