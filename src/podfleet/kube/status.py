"""From the API server's answer to one of podfleet's errors. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from podfleet.errors import (
    AdmissionRefused,
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    QuotaExceeded,
    RangeFull,
    ServerError,
    Throttled,
    Unauthorized,
)

__all__ = ["error_from_answer", "error_from_status"]

_ADVICE: dict[type[ApiError], str] = {
    ApiError: "look what answers there: perhaps a proxy, or a Kubernetes that is too old",
    NotFound: "check the name and the namespace, or make it",
    AlreadyExists: "remove that object, or rename the fleet",
    Conflict: "try again: others write the same object at the same time",
    Gone: "try again: it reads from the start then",
    Unauthorized: "check the credentials of the kubeconfig or the service account",
    Forbidden: "apply what fleet.manifests() returns",
    QuotaExceeded: "raise the quota, or release servers",
    AdmissionRefused: "change the template (pod=), or the namespace's policy",
    Invalid: "change what the message names in the template",
    RangeFull: "release servers, remove Services, or widen the API server's range",
    Throttled: "ask less often, or raise the API server's limits",
    ServerError: "try again; if it stays, look at the control plane",
}


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
    """Return the error for a ``Status`` object, as a watch sends it too."""
    status = int(answer.get("code") or 500)
    reason = str(answer.get("reason") or "")
    message = str(answer.get("message") or "").strip()
    kind = _kind(status, reason, message)
    words = ": ".join(filter(None, [action, message or str(status)]))
    details = answer.get("details") or {}
    return kind(
        f"{words.removesuffix('.')}. To do: {_ADVICE[kind]}.",
        status=status,
        reason=reason,
        details=details,
        retry_after=_retry_after(headers or {}, details),
    )


def _kind(status: int, reason: str, message: str) -> type[ApiError]:
    if status == 403:
        return _kind_of_forbidden(message)
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


def _kind_of_forbidden(message: str) -> type[ApiError]:
    """Tell a missing right from a refusal: all three are 403 with reason Forbidden.

    RBAC says ``User "x" cannot create resource "pods" ...`` (apiserver,
    endpoints/handlers/responsewriters/errors.go: ForbiddenStatusError); an admission plugin
    says why it refused the object.
    """
    if "exceeded quota:" in message or "failed quota:" in message:
        return QuotaExceeded
    return (
        Forbidden if " cannot " in message or " is forbidden: " not in message else AdmissionRefused
    )


def _retry_after(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    value = headers.get("Retry-After", details.get("retryAfterSeconds"))
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:  # a date: no API server sends one, a proxy may
        return None
