"""`Line`: callers of this process that wait for a server, served in the order they came."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field

from podfleet.errors import PodfleetError
from podfleet.fleet.claiming.claim import Candidate, Standing, standing
from podfleet.fleet.pool.free import FreeServers, Wish
from podfleet.fleet.sighting import Sighting
from podfleet.model import Manifest
from podfleet.model.manifest import name_of
from podfleet.model.slots import sessions_of

__all__ = ["Line"]


@define(eq=False)
class _Caller:
    wish: Wish
    session: str | None
    served: asyncio.Future[Manifest] = field(factory=asyncio.Future)
    on_its_own: asyncio.Event = field(factory=asyncio.Event)


class Line:
    """Callers that wait.

    A caller is served by the first server that becomes free and that it can use. It starts one
    of its own if there are more callers than servers on their way.

    Args:
        free: The servers.
    """

    def __init__(self, free: FreeServers) -> None:
        self._free = free
        self._callers: dict[_Caller, None] = {}  # in order

    def __len__(self) -> int:
        return len(self._callers)

    @property
    def patient(self) -> int:
        """How many callers wait for a free server, and have not started one themselves."""
        return sum(not caller.on_its_own.is_set() for caller in self._callers)

    async def wait(
        self,
        wish: Wish,
        session: str | None,
        start: Callable[[], Awaitable[Manifest]] | None,
        confirm: Callable[[Manifest], Awaitable[Manifest | None]],
    ) -> Manifest:
        """Return a server that is held for this caller, or the session's own.

        Args:
            wish: Which server it is to be.
            session: The session that it is for: if another replica is faster, its server.
            start: Starts a server for this caller, and returns it once it is ready; ``None`` if
                one that it started would not do.
            confirm: Returns a server that the watch showed as the session's, as it is now; ``None``
                if it is not the session's any more: what was started is not given up for it.

        Raises:
            PodfleetError: What `turn_away` was given, or what ``start`` raised.
        """
        pod = self._free.take(wish)
        if pod is not None:
            return pod
        caller = _Caller(wish, session)
        self._callers[caller] = None
        self._share_out()
        starting: asyncio.Future[Manifest] | None = None
        alone = asyncio.ensure_future(caller.on_its_own.wait())
        try:
            while True:
                begun: set[asyncio.Future[Any]] = {caller.served}
                if starting is not None:
                    begun.add(starting)
                elif start is not None:
                    begun.add(alone)
                await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
                if caller.served.done() and not _is_well(starting):
                    pod = caller.served.result()
                    if session not in sessions_of(pod):
                        return pod
                    if (serving := await confirm(pod)) is not None:
                        return serving
                    self._wait_on(caller)
                elif starting is not None:
                    self._pass_on(caller)
                    return starting.result()
                else:
                    assert start is not None
                    starting = asyncio.ensure_future(start())
        except asyncio.CancelledError:
            self._pass_on(caller)
            raise
        finally:
            alone.cancel()
            self._callers.pop(caller, None)
            if starting is not None and not starting.done():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
            self._share_out()

    def follow(self, seen: Sighting) -> None:
        """Serve whom a server that was seen serves; after `FreeServers.follow`."""
        if not self._callers:
            return
        if seen.pod is not None:
            self._serve_sessions(seen.pod)
        self.serve()

    def _serve_sessions(self, pod: Manifest) -> None:
        """Serve those who wait for a session that has this server."""
        for session in sessions_of(pod):
            if standing(pod, Candidate.of(pod), session) is not Standing.SERVES:
                continue  # it had: its match is over
            for caller in [one for one in self._callers if one.session == session]:
                self._serve(caller, pod)

    def serve(self) -> None:
        """Give the callers what is free, in their order."""
        for caller in list(self._callers):
            pod = self._free.take(caller.wish)
            if pod is not None:
                self._serve(caller, pod)
        self._share_out()

    def turn_away(self, error: PodfleetError) -> None:
        """Tell all callers that there will be no server for them."""
        for caller in list(self._callers):
            del self._callers[caller]
            caller.served.set_exception(error)

    def _serve(self, caller: _Caller, pod: Manifest) -> None:
        del self._callers[caller]
        caller.served.set_result(pod)

    def _wait_on(self, caller: _Caller) -> None:
        """Have a caller wait on, as the first: what it was served with was the session's before."""
        caller.served = asyncio.Future()
        self._callers = {caller: None, **self._callers}
        self.serve()

    def _pass_on(self, caller: _Caller) -> None:
        """Let others have what a caller was served with that does not take it."""
        served = caller.served
        if served.done() and not served.cancelled() and served.exception() is None:
            pod = served.result()
            if caller.session not in sessions_of(pod):
                self._free.let_go(name_of(pod))
                self.serve()

    def _share_out(self) -> None:
        """Have those start a server for whom none is on its way."""
        for position, caller in enumerate(self._callers):
            if position >= self._free.coming:
                caller.on_its_own.set()


def _is_well(starting: asyncio.Future[Manifest] | None) -> bool:
    return starting is not None and starting.done() and starting.exception() is None
