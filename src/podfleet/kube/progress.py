"""`Progress`: which requests a call waits for, for how long, and what went wrong with them.

An error that says that the time was up should say what was waited for. A call follows its own
requests by a context variable: tasks that it starts inherit it, whatever else runs does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from enum import Enum
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from attrs import define, field

from podfleet.errors import PodfleetError, ServerError, Throttled, TransportError

__all__ = ["Progress", "Stage", "asked", "follow", "on_its_own", "stage"]

_S = TypeVar("_S")
_P = ParamSpec("_P")
_R = TypeVar("_R")

_AT_ONCE = 0.1  # seconds; of a request that has just been sent nothing is to be said
_JUST_NOW = 0.5  # seconds; what was cancelled then was waited for when the time was up


_UNANSWERED = (ServerError, Throttled, TransportError)
"""What says nothing of the object that was asked for; mostly it is tried again."""


class Stage(Enum):
    """How far a request is."""

    CREDENTIALS = "credentials"
    CONNECT = "connect"
    ANSWER = "answer"


@define(eq=False)
class _Request:
    action: str
    since: float
    stage: Stage = Stage.ANSWER
    cancelled: float | None = None

    @property
    def seconds(self) -> float:
        """How long it has taken, or took until it was cancelled."""
        return (self.cancelled or time.monotonic()) - self.since


@define
class _Failure:
    error: PodfleetError
    stage: Stage
    times: int


@define(eq=False)
class Progress:
    """The requests of one call."""

    _under_way: dict[_Request, None] = field(factory=dict)
    _failed: dict[str, _Failure] = field(factory=dict)
    _cancelled: _Request | None = None

    @property
    def _oldest(self) -> _Request | None:
        """The one that has been under way longest, or was until it was cancelled just now."""
        last = self._cancelled
        if last is not None and time.monotonic() - (last.cancelled or 0.0) < _JUST_NOW:
            return last
        return next(iter(self._under_way), None)

    @property
    def stage(self) -> Stage | None:
        """How far the request is that has been under way longest; ``None`` if none is.

        Between two tries: how far the last one came.
        """
        if (request := self._oldest) is not None:
            return request.stage
        for failure in reversed(self._failed.values()):
            return failure.stage
        return None

    @property
    def stuck(self) -> float:
        """For how many seconds the oldest request has been under way; 0 if none is."""
        return 0.0 if (request := self._oldest) is None else request.seconds

    @property
    def unconnected(self) -> TransportError | None:
        """Why no connection could be made, if that is what it is about; else ``None``."""
        failure = next(reversed(self._failed.values()), None)
        if failure is None or failure.stage is not Stage.CONNECT or self.stuck > _AT_ONCE:
            return None
        return failure.error if isinstance(failure.error, TransportError) else None

    def __str__(self) -> str:
        """Return what is seen: the request that is not answered, what was refused; or nothing."""
        return "; ".join(filter(None, [self._waiting(), self._failing()]))

    def _waiting(self) -> str:
        request = self._oldest
        if request is None or request.seconds < _AT_ONCE:
            return ""
        seconds = f"{request.seconds:.1f} s"
        match request.stage:
            case Stage.CREDENTIALS:
                return f"loading the credentials had taken {seconds} and was not done"
            case Stage.CONNECT:
                return f"{request.action}: no connection to the API server after {seconds}"
            case Stage.ANSWER:
                return f"{request.action} had not been answered for {seconds}"

    def _failing(self) -> str:
        for action, failure in reversed(self._failed.items()):
            if isinstance(failure.error, Throttled):
                asked = failure.error.retry_after
                wait = "" if asked is None else f", Retry-After: {asked:g} s"
                return f"the API server throttles: {action} got 429 {failure.times} time(s){wait}"
            return f"{action} failed {failure.times} time(s), the last time with: {failure.error}"
        return ""

    @contextmanager
    def request(self, action: str) -> Iterator[None]:
        """Note a request for as long as the block lasts, and how it ended."""
        request = _Request(action, time.monotonic())
        self._under_way[request] = None
        token = _REQUEST.set(request)
        try:
            yield
        except _UNANSWERED as error:
            before = self._failed.pop(action, None)
            times = 1 if before is None else before.times + 1
            self._failed[action] = _Failure(error, request.stage, times)
            raise
        except asyncio.CancelledError:
            request.cancelled = time.monotonic()
            last = self._cancelled
            # Of several that are cancelled together the oldest is what was waited for.
            if last is None or last is not self._oldest or request.since < last.since:
                self._cancelled = request
            raise
        else:
            self._failed.pop(action, None)
        finally:
            _REQUEST.reset(token)
            del self._under_way[request]


_PROGRESS: ContextVar[Progress | None] = ContextVar("podfleet_progress", default=None)
_REQUEST: ContextVar[_Request | None] = ContextVar("podfleet_request", default=None)


@contextmanager
def follow(progress: Progress) -> Iterator[None]:
    """Have this follow the requests that the block makes."""
    token = _PROGRESS.set(progress)
    try:
        yield
    finally:
        _PROGRESS.reset(token)


def on_its_own() -> Context:
    """Return a copy of this context for work whose requests its caller does not wait for."""
    context = copy_context()
    context.run(_PROGRESS.set, None)
    context.run(_REQUEST.set, None)
    return context


@contextmanager
def stage(reached: Stage) -> Iterator[None]:
    """Note that the present request is at this stage, until the block has ended well."""
    request, progress = _REQUEST.get(), _PROGRESS.get()
    if request is not None:
        request.stage = reached
        yield
        request.stage = Stage.ANSWER
    elif progress is not None:
        with progress.request(reached.value):
            noted = _REQUEST.get()
            assert noted is not None
            noted.stage = reached
            yield
    else:
        yield


def asked(
    send: Callable[Concatenate[_S, str, str, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[_S, str, str, _P], Coroutine[Any, Any, _R]]:
    """Have a method that sends requests note each: its first arguments are method and path."""

    @wraps(send)
    async def noted(self: _S, method: str, path: str, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        progress = _PROGRESS.get()
        if progress is None:
            return await send(self, method, path, *args, **kwargs)
        with progress.request(f"{method} {path}"):
            return await send(self, method, path, *args, **kwargs)

    return noted
