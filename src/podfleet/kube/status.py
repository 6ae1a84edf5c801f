"""From the API server's answer to one of podfleet's errors. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from podfleet.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    RangeFull,
    ServerError,
    Throttled,
    Unauthorized,
)
from podfleet.kube.admission import Refused, refused

__all__ = ["error_from_answer", "error_from_status"]

_REMEDIES: dict[type[ApiError], str] = {
    ApiError: "look what answers there: perhaps a proxy, or a Kubernetes that is too old",
    NotFound: "check the name and the namespace, or make it",
    AlreadyExists: "remove that object, or rename the fleet",
    Conflict: "try again: others write the same object at the same time",
    Gone: "try again: it reads from the start then",
    Unauthorized: "check the credentials of the kubeconfig or the service account",
    Invalid: "change what the message names in the template",
    RangeFull: "release servers, remove Services, or widen the API server's range",
    Throttled: "ask less often, or raise the API server's limits",
    ServerError: "try again; if it stays, look at the control plane",
}
_NAMESPACE = re.compile(r"/namespaces/([^/?]+)/")


def error_from_answer(
    action: str, status: int, body: bytes, headers: Mapping[str, str]
) -> ApiError:
    """Return the error for an HTTP answer of 400 or more.

    Args:
        action: What was asked: ``"POST /api/v1/namespaces/games/pods"``.
        status: The HTTP status code.
        body: The body: a ``Status`` object, or a proxy's page.
        headers: The headers; ``Retry-After`` is read, in seconds.

    Example:
        >>> print(error_from_answer("GET /api/v1/nodes/a", 404, b"{}", {}))
        GET /api/v1/nodes/a: 404. To do: check the name and the namespace, or make it.
    """
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    answer = (
        parsed if isinstance(parsed, dict) else {"message": body[:200].decode(errors="replace")}
    )
    return error_from_status(action, {**answer, "code": status}, headers)


def error_from_status(
    action: str, answer: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> ApiError:
    """Return the error for a ``Status`` object, as a watch sends it too.

    No field of it is trusted to be what it should be: proxies and webhooks write them too.
    """
    code, details = answer.get("code"), answer.get("details")
    status = code if isinstance(code, int) and 400 <= code <= 599 else 500
    reason, message = _text(answer.get("reason")), _text(answer.get("message")).strip()
    about: Mapping[str, Any] = details if isinstance(details, Mapping) else {}
    namespace = _NAMESPACE.search(action)
    why = refused(status, message, about, namespace[1] if namespace else "")
    if why is None:
        kind = _kind(status, reason, message)
        why = Refused(kind, _REMEDIES[kind])
    words = ": ".join(filter(None, [action, message or str(status)]))
    return why.error(
        f"{words.removesuffix('.')}. To do: {why.remedy}.",
        status=status,
        reason=reason,
        details=about,
        retry_after=_retry_after(headers or {}, about),
        said=message or str(status),
        remedy=why.remedy,
        plugin=why.plugin,
        refused_by=why.by,
    )


def _text(value: object) -> str:
    """Return a text that can be printed: JSON may hold half a surrogate pair."""
    return str(value or "").encode(errors="backslashreplace").decode()


def _kind(status: int, reason: str, message: str) -> type[ApiError]:
    if status == 409:
        return AlreadyExists if reason == "AlreadyExists" else Conflict
    if status >= 500:
        # registry/core/service/{port,ip}allocator: ErrFull; nothing was written, and no retry helps
        return RangeFull if message.endswith("range is full") else ServerError
    return {
        400: Invalid,
        401: Unauthorized,
        404: NotFound,
        410: Gone,
        422: Invalid,
        429: Throttled,
    }.get(status, ApiError)


def _retry_after(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    value = headers.get("Retry-After", details.get("retryAfterSeconds"))
    try:
        seconds = float(value) if value is not None else None
    except (TypeError, ValueError):  # a date: no API server sends one, a proxy may
        return None
    return max(0.0, seconds) if seconds is not None and math.isfinite(seconds) else None
