"""`Fault`: what `FaultyApi` does to the requests that match."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from attrs import define, field

__all__ = ["Fault"]

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
}


@define
class Fault:
    """What to do to the next requests that match.

    Args:
        method: The HTTP method; or several: ``"POST|PATCH"``.
        path: A regular expression that the path with its query must contain.
        times: To how many requests; ``math.inf`` for all, until it is removed.
        status: Answer with this status, without asking the API server. With none of these, cut
            the connection instead.
        headers: Headers of that answer: ``{"Retry-After": "1"}``.
        lose_reply: Let the API server carry it out, then cut the connection.
        delay: Seconds to wait first.
        duplicate: Send it to the API server twice, as a retrying proxy does; answer with the
            second answer.
        silent: Neither ask nor answer, and keep the connection open: a half-open one.
        message: The ``message`` of the ``Status`` object that is answered.
        reason: Its ``reason``; by default the usual one for the status.
        details: Its ``details``; by default it has none.

    Example:
        >>> Fault("POST", "/pods$", status=429, headers={"Retry-After": "1"}).times
        1
    """

    method: str
    path: str
    times: float = 1
    status: int = 0
    lose_reply: bool = False
    headers: dict[str, str] = field(factory=dict)
    delay: float = 0.0
    duplicate: bool = False
    silent: bool = False
    message: str | None = None
    reason: str | None = None
    details: Mapping[str, Any] | None = None

    def takes(self, request: web.Request) -> bool:
        """Return whether this fault is for the request, and count it."""
        if self.times < 1 or not re.fullmatch(self.method, request.method):
            return False
        if not re.search(self.path, request.path_qs):
            return False
        self.times -= 1
        return True

    @property
    def refuses(self) -> bool:
        """Whether the API server is not asked, and the client is answered or cut off."""
        return bool(self.status) or not (self.lose_reply or self.delay or self.duplicate)

    @property
    def answer(self) -> dict[str, Any]:
        """The ``Status`` object that a refused request is answered with."""
        status = self.status or 500
        told = f"podfleet.testing answers {status}" if self.message is None else self.message
        reason = _REASONS.get(status, "InternalError") if self.reason is None else self.reason
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "code": status,
            "reason": reason,
            "message": told,
            **({} if self.details is None else {"details": dict(self.details)}),
        }
