"""`Reflector`: keeps a `Store` in step with the cluster: list, then watch, for ever."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from contextvars import Context

from podfleet.chance import CHANCE
from podfleet.errors import (
    ConfigurationError,
    Forbidden,
    Gone,
    NotFound,
    PodfleetError,
    ServerError,
    TransportError,
    Unauthorized,
)
from podfleet.kube.client import KubeClient
from podfleet.kube.events import glance, parse
from podfleet.kube.pages import Page
from podfleet.kube.progress import Progress, follow
from podfleet.kube.retry import pause
from podfleet.kube.status import error_from_status
from podfleet.kube.store import Store
from podfleet.model import Manifest
from podfleet.model.manifest import is_named, name_of

__all__ = ["Reflector"]

_log = logging.getLogger(__name__)

_PAGE = 500
_BREATH = 50  # objects taken in before others of the event loop have a turn
_WATCH_SECONDS = (240, 360)  # a random length, so that replicas do not come back in step
_SILENCE = 90.0  # seconds; the API server sends a bookmark about every minute
_WITHOUT = 300.0  # seconds until it is asked again for what there was no right to
_CURRENT = 75.0  # seconds; a bookmark comes about every minute
_LONG = 60.0  # seconds after which it is no wonder that a version is too old again
_BACKOFF = (0.2, 20.0)  # seconds, doubled from one failure to the next

_SOON = 3  # failures, by which the back-off grows at least: others may be answered all the time

_OUTAGE = (ServerError, TransportError, Unauthorized)
"""What ends for the watch when it ends for other requests."""

_HOPELESS = (ConfigurationError, Forbidden, NotFound, Unauthorized)
"""What `wait_synced` reports at once: only a person can mend it."""


class Reflector:
    """Keeps a `Store` in step with a collection, whatever happens to the connection.

    Pages through a list, then watches from its version with bookmarks. A version that is too
    old (410) lists again; a broken or silent connection watches on from where it was; an event
    that makes no sense is logged and skipped. It never gives up.

    Args:
        client: The transport.
        path: The collection's path.
        selector: ``labelSelector`` and ``fieldSelector``.
        store: The store to keep; by default a new one.
        about: The ``extra`` of its log records.
        optional: What is done without, in words, if there is no right to it: said once, at the
            level INFO; the store is empty then.
    """

    def __init__(
        self,
        client: KubeClient,
        path: str,
        selector: Mapping[str, str],
        store: Store | None = None,
        about: Mapping[str, str] | None = None,
        optional: str | None = None,
    ) -> None:
        self.store = store if store is not None else Store()
        self._client = client
        self._path = path
        self._selector = dict(selector)
        self._about = dict(about or {})
        self._optional = optional
        self._said = False
        self.progress = Progress()
        """What its list waits for."""
        self._is_open = False  # the watch
        self._version = ""
        self._synced = asyncio.Event()
        self._troubled = asyncio.Event()
        self._error: PodfleetError | None = None
        self._heard = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    @property
    def synced(self) -> bool:
        """Whether a whole list has been taken in."""
        return self._synced.is_set()

    @property
    def age(self) -> float:
        """Seconds since the API server was last heard: a quiet fleet is heard by bookmarks."""
        return time.monotonic() - self._heard

    @property
    def is_current(self) -> bool:
        """Whether the store shows what is now: the watch is open, and heard when it should be."""
        return self._is_open and self.age < _CURRENT

    def start(self) -> None:
        """Begin; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(
                self._run(),
                name=f"podfleet watch {self._path}",
                context=Context(),  # it outlives the request in which it was started
            )

    async def stop(self) -> None:
        """End; returns when the connection is closed."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def wait_synced(self, timeout: float) -> None:
        """Return when the store shows the cluster for the first time.

        Args:
            timeout: Seconds.

        Raises:
            PodfleetError: The first failure that waiting cannot mend (rights, credentials), or
                the last one of any kind when the time is up.
        """
        waiters = [
            asyncio.create_task(self._synced.wait()),
            asyncio.create_task(self._troubled.wait()),
        ]
        try:
            await asyncio.wait(waiters, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
        if not self.synced:
            raise self._error or TransportError(
                f"GET {self._path}: no list within {timeout:g} s: is the API server reachable?"
            )

    async def _run(self) -> None:
        with follow(self.progress):
            await self._keep()

    async def _keep(self) -> None:
        failures = 0
        expired, since = 0, float("-inf")  # versions in a row that were too old at once
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                failures = 0
            except Gone:
                _log.info(
                    "%s: version %s is too old: listing again",
                    self._path,
                    self._version,
                    extra=self._about,
                )
                self._version = ""
                now = time.monotonic()
                expired, since = (expired + 1 if now < since + _LONG else 1), now
                await asyncio.sleep(
                    pause(expired, _BACKOFF) if expired > 1 else CHANCE.uniform(0, _BACKOFF[0])
                )
            except PodfleetError as error:
                if self._optional is not None and isinstance(error, Forbidden):
                    await self._do_without(error)
                    continue
                self._note(error, is_first=not failures)
                failures += 1
                await self._back_off(failures, ends_with_outage=isinstance(error, _OUTAGE))
            except Exception:  # a bug here must not silence the fleet: say it, and go on
                _log.exception(
                    "%s: the watch failed in an unexpected way", self._path, extra=self._about
                )
                self._version = ""
                failures += 1
                await asyncio.sleep(pause(failures, _BACKOFF))

    async def _back_off(self, failures: int, *, ends_with_outage: bool) -> None:
        """Wait before the next try.

        After a long outage that may be for 20 s. But whoever calls meanwhile finds out sooner that
        the API server answers again, and needs the watch then.
        """
        longest = pause(failures, _BACKOFF)
        if not ends_with_outage:
            await asyncio.sleep(longest)
            return
        soonest = min(longest, pause(min(failures, _SOON), _BACKOFF))
        await self._client.until_answered(soonest, longest)

    async def _do_without(self, error: Forbidden) -> None:
        """Wait: the right may be granted later."""
        level = logging.DEBUG if self._said else logging.INFO
        _log.log(level, "%s: %s", self._optional, error, extra=self._about)
        self._said = True
        self._version = ""
        self.store.retain((), sys.maxsize)
        await asyncio.sleep(_WITHOUT)

    def _note(self, error: PodfleetError, *, is_first: bool) -> None:
        level = logging.WARNING if is_first else logging.DEBUG  # an outage is told once
        _log.log(level, "%s: %s", self._path, error, extra=self._about)
        self._error = error
        if isinstance(error, _HOPELESS):
            self._troubled.set()

    async def _list(self) -> None:
        names: set[str] = set()
        query = {**self._selector, "limit": str(_PAGE)}
        coming: asyncio.Task[Page] | None = asyncio.create_task(
            self._client.page(self._path, query)
        )
        try:
            while coming is not None:
                page, coming = await coming, None
                metadata = page.metadata
                if onward := metadata.get("continue"):
                    # The API server prepares the next page while this one is taken in.
                    query = {**query, "continue": onward}
                    coming = asyncio.create_task(self._client.page(self._path, query))
                for position, item in enumerate(page):
                    if self.store.observe(item) or is_named(item):
                        names.add(name_of(item))
                    if position % _BREATH == 0:
                        self.store.pack()
                        await asyncio.sleep(0)
        finally:
            if coming is not None:
                coming.cancel()
        self._version = str(metadata["resourceVersion"])
        self.store.retain(names, int(self._version))
        self._heard = time.monotonic()
        self._troubled.clear()
        self._synced.set()

    async def _watch(self) -> None:
        query = {
            **self._selector,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(CHANCE.randint(*_WATCH_SECONDS)),
        }
        started = time.monotonic()
        events = self._client.watch(self._path, query, silence=_SILENCE, opened=self._opened)
        try:
            async for line in events:
                self._heard = time.monotonic()
                self._take(line)
                self.store.pack()
        finally:
            self._is_open = False
            await events.aclose()
        if time.monotonic() - started < 1:
            # A proxy that ends every watch at once must not be asked in a tight loop.
            raise TransportError(f"GET {self._path}: the watch ended as soon as it began")

    def _opened(self) -> None:
        self._heard = time.monotonic()
        self._is_open = True

    def _take(self, line: bytes) -> None:
        seen = glance(line)
        if seen is not None and self.store.knows(seen.name, seen.uid, int(seen.version)):
            self._version = seen.version  # the answer to a write of our own was here before
            return
        event = parse(line)
        try:
            kind = event and event["type"]
            if kind == "ERROR":
                assert event is not None
                raise error_from_status(f"GET {self._path}", event["object"])
            if event is None or kind not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
                raise ValueError(f"no event: {line[:200].decode(errors='replace')}")
            shown: Manifest = event["object"]
            version = str(shown["metadata"]["resourceVersion"])
            if kind == "DELETED":
                self.store.forget(shown)
            elif kind != "BOOKMARK":
                self.store.observe(shown)
            self._version = version
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, PodfleetError):
                raise
            _log.warning(
                "%s: skipped an event that makes no sense: %s",
                self._path,
                error,
                extra=self._about,
            )
