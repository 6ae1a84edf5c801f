"""`Credentials`: the loaded configuration, renewed before it expires and after a 401.

It is loaded by one task, whoever waits for it: a caller that is cancelled leaves it to the others.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context

from attrs import evolve

from podfleet.errors import ConfigurationError, PodfleetError, TransportError, Unauthorized
from podfleet.kube.cluster import Cluster, Connection
from podfleet.kube.retry import pause
from podfleet.log import about

__all__ = ["Credentials"]

_log = logging.getLogger(__name__)

_BACKOFF = (0.5, 4.0)  # seconds between two loads in vain, doubled from one to the next
_STOPPED = "the credentials were not loaded: the fleet was stopped"
_LOOK = 1.0  # seconds between two looks at the files, and between two renewals in a row
_AGAIN = (1.0, 30.0)  # seconds between two loads that bring the same, doubled likewise


class Credentials:
    """The configuration that requests are sent with.

    Args:
        cluster: Where it is loaded from.
        adopt: Called with each configuration before it is given to anyone.
    """

    def __init__(self, cluster: Cluster, adopt: Callable[[Connection], None]) -> None:
        self._cluster = cluster
        self._adopt = adopt
        self._connection: Connection | None = None
        self._loading: asyncio.Task[Connection] | None = None
        self._patience: float | None = None
        self._failures = 0
        self._error: PodfleetError | None = None
        self._same = 0
        # On a clock that never goes back: when it is loaded again after a failure; when one that
        # is about to expire is; when its files are looked at.
        self._not_before = self._next = self._look_at = 0.0
        self._renewed = -math.inf  # after a 401

    async def current(self) -> Connection:
        """Return the configuration, which is as good as is known.

        It is renewed in the background when that is due, and waited for only if there is none, or
        if it has expired.

        Raises:
            ConfigurationError: There is none.
        """
        now = time.monotonic()
        connection = self._connection
        if connection is None:
            if self._error is not None and now < self._not_before:
                raise self._error.with_traceback(None)  # no plugin runs for each request
            return await self._load()
        if now >= self._not_before:
            is_due = now >= self._next and time.time() >= connection.renew_at
            if is_due or self._finds_changed(connection, now):
                self._begin()
        if self._loading is not None and time.time() >= connection.expires:
            with suppress(ConfigurationError):  # the API server says what it thinks of the old one
                return await self._load()
        return connection

    def _finds_changed(self, connection: Connection, now: float) -> bool:
        """Return whether the configuration's files have changed, if it is time to look."""
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK
        return connection.has_changed()

    async def after_refusal(self, used: Connection, refused: Unauthorized) -> Connection:
        """Return what to try again with, after a 401.

        Args:
            used: What the request was sent with.
            refused: The refusal.

        Raises:
            Unauthorized: There is nothing to try.
        """
        connection = self._connection
        if connection is not None and connection is not used:
            return connection  # renewed meanwhile
        now = time.monotonic()
        if connection is not None and self._loading is None:
            if self._failures and now < self._not_before:
                raise self._explained(refused)
            if now < self._renewed + _LOOK:
                return connection  # renewed a moment ago after a 401, and accepted since
        self._renewed = now
        try:
            return await self._load()
        except ConfigurationError:
            raise self._explained(refused) from None

    def accepted(self) -> None:
        """Take note that the API server took the credentials."""
        if self._failures and self._error is None:
            self._failures = 0

    def rejected(self) -> None:
        """Take note that the API server refused new credentials too."""
        self._defer()

    def hurry(self, seconds: float) -> None:
        """Give a load no more than so many seconds from now on."""
        self._patience = seconds
        if self._loading is not None:
            asyncio.get_running_loop().call_later(seconds, self._loading.cancel)

    async def stop(self) -> None:
        """End a load that is under way, and what it runs."""
        loading = self._loading
        if loading is not None:
            loading.cancel()
            await asyncio.wait([loading])

    async def _load(self) -> Connection:
        try:
            return await asyncio.shield(self._begin())
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise TransportError(_STOPPED) from None

    def _begin(self) -> asyncio.Task[Connection]:
        if self._loading is None:
            # It outlives the request in which it began.
            self._loading = asyncio.create_task(
                self._renew(), name="podfleet credentials", context=Context()
            )
            self._loading.add_done_callback(self._done)
            if self._patience is not None:
                self.hurry(self._patience)
        return self._loading

    def _done(self, task: asyncio.Task[Connection]) -> None:
        self._loading = None
        if not task.cancelled():
            task.exception()  # nobody may be left who waits for it
        elif self._patience is not None:  # what took too long once would again
            self._error = TransportError(_STOPPED)
            self._failures += 1
            self._not_before = math.inf

    async def _renew(self) -> Connection:
        before = self._connection
        try:
            fresh = await self._cluster.load()
            self._adopt(fresh)
        except PodfleetError as error:
            if before is not None and self._error is None:
                _log.warning(
                    "the credentials could not be renewed: %s",
                    error,
                    extra=about(namespace=before.namespace),
                )
            self._error = error
            self._defer()
            raise
        now = time.monotonic()
        # Whoever hands out the credentials may do so from a cache, until the last second.
        is_same = before is not None and before.secret == fresh.secret
        self._same = self._same + 1 if is_same else 0
        self._next = now + pause(self._same + 1, _AGAIN)
        self._error = None
        self._not_before = now + _LOOK
        self._connection = fresh
        if fresh.context is not None and self._cluster.context is None:
            # Whoever changes the current context means kubectl's, not that of a running fleet.
            self._cluster = evolve(self._cluster, context=fresh.context)
        return fresh

    def _defer(self) -> None:
        self._failures += 1
        self._not_before = time.monotonic() + pause(self._failures, _BACKOFF)

    def _explained(self, refused: Unauthorized) -> Unauthorized:
        if self._error is None:
            return refused
        return Unauthorized(
            f"{refused} The credentials could not be renewed: {self._error}",
            status=refused.status,
            reason=refused.reason,
            details=refused.details,
        )
