"""Every error that podfleet raises, as one tree.

::

    PodfleetError
    ├── ConfigurationError            an argument or a setting is wrong (also a ValueError)
    ├── ApiError                      the API server answered with a failure
    │   ├── NotFound                  404
    │   ├── AlreadyExists             409, reason AlreadyExists
    │   ├── Conflict                  409, any other reason: somebody else wrote first
    │   ├── Gone                      410: the watch version is too old
    │   ├── Invalid                   422 or 400: the object or patch was refused
    │   ├── Unauthorized              401
    │   ├── Forbidden                 403: rights are missing
    │   │   └── AdmissionRefused      an admission check refused the object: a policy, a webhook
    │   │       └── QuotaExceeded     ... a ResourceQuota that is used up
    │   ├── Throttled                 429
    │   ├── RangeFull                 500: no NodePort or Service address is left
    │   └── ServerError               5xx
    ├── TransportError                no answer: connection, TLS or time
    ├── AllocationError               `allocate` could not hand out a server
    │   ├── Exhausted                 the cluster has no room: nodes, quota
    │   │   └── PortPoolExhausted     ... or the pool has no port
    │   ├── Contended                 other callers were faster each time
    │   ├── FleetDraining             the fleet is drained: it hands out no servers
    │   ├── ServerUnreachable         the session's server is in doubt: its node is silent
    │   └── AllocationTimeout         the time was up; the phase and the last status are in it
    ├── DrainEnded                    `drain` ended before the fleet was empty
    ├── ServerFailed                  a server will never be ready; its diagnosis is in it
    └── WaitTimeout                   a waiter's time was up (also a TimeoutError)

Every message says what happened, to which object, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from podfleet.diagnosis import Diagnosis
from podfleet.phase import AllocationPhase

__all__ = [
    "AdmissionRefused",
    "AllocationError",
    "AllocationTimeout",
    "AlreadyExists",
    "ApiError",
    "ConfigurationError",
    "Conflict",
    "Contended",
    "DrainEnded",
    "Exhausted",
    "FleetDraining",
    "Forbidden",
    "Gone",
    "Invalid",
    "NotFound",
    "PodfleetError",
    "PortPoolExhausted",
    "QuotaExceeded",
    "RangeFull",
    "ServerError",
    "ServerFailed",
    "ServerUnreachable",
    "Throttled",
    "TransportError",
    "Unauthorized",
    "WaitTimeout",
]

_LONGEST_VALUE = 400  # characters of a wrong value in a message; `value` has all of it


class PodfleetError(Exception):
    """The root: ``except PodfleetError`` catches all that podfleet raises on purpose."""


class ConfigurationError(PodfleetError, ValueError):
    """An argument or a setting is wrong; nothing was done.

    Args:
        field: The argument, as the caller spelled it: ``"PortPool.first"``.
        value: The value that was given.
        advice: What is allowed, or what to do.

    Example:
        >>> raise ConfigurationError("Port.number", 70000, "must be between 1 and 65535")
        Traceback (most recent call last):
            ...
        podfleet.errors.ConfigurationError: Port.number: 70000: must be between 1 and 65535
    """

    def __init__(self, field: str, value: object, advice: str) -> None:
        super().__init__(f"{field}: {_shown(value)}: {advice}")
        self.field = field
        self.value = value
        self.advice = advice


def _shown(value: object) -> str:
    """Return a value for a message, whatever it is: in full only if that is short."""
    try:
        shown = repr(value)
    except Exception:  # its __repr__ is a caller's; and Python writes no number of 5,000 digits
        return f"<{type(value).__name__}>"
    half = _LONGEST_VALUE // 2
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[:half]} ... {shown[-half:]}"


class ApiError(PodfleetError):
    """The API server answered with a failure.

    Attributes:
        status: The HTTP status code, 400 to 599.
        reason: The ``reason`` of the Kubernetes ``Status`` object: ``"Forbidden"``.
        details: Its ``details``: the object's kind and name, and the causes.
        retry_after: Seconds that the server asked to wait, or ``None``.
        said: What the API server said, and nothing else.
        remedy: What to do about it.
        plugin: Which admission check the answer came from: ``"PodSecurity"``, ``"LimitRanger"``,
            ``"ResourceQuota"``, ``"ServiceAccount"``, ``"NamespaceLifecycle"`` and so on, by
            Kubernetes' names; ``"webhook"``; ``"policy"``. Empty if it came from none, or one that
            podfleet does not know.
        refused_by: The name of the webhook, policy or quota that it came from; else empty.
        found: The object as it is, where a write of it was refused and it was looked at.
        unsure: Whether an earlier try of the same write got no answer: it may be carried out yet.
        nothing_written: Whether it is certain that this write changed nothing, with no earlier
            try of it that may have been carried out.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        said: str = "",
        remedy: str = "",
        plugin: str = "",
        refused_by: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.details: Mapping[str, Any] = details or {}
        self.retry_after = retry_after
        self.said = said
        self.remedy = remedy
        self.plugin = plugin
        self.refused_by = refused_by
        self.found: Mapping[str, Any] | None = None
        self.unsure = False
        self.nothing_written = False


class NotFound(ApiError):
    """The object does not exist (404)."""


class AlreadyExists(ApiError):
    """An object of that name exists already (409)."""


class Conflict(ApiError):
    """The object changed since it was read, or a precondition failed (409)."""


class Gone(ApiError):
    """The version asked for was compacted away (410): list again."""


class Invalid(ApiError):
    """The API server refused the object or the patch as wrong (400, 422)."""


class Unauthorized(ApiError):
    """The API server does not know this client (401): check the credentials."""


class Forbidden(ApiError):
    """The client lacks a right (403): apply the Role that ``fleet.manifests()`` prints."""


class AdmissionRefused(Forbidden):
    """An admission check refused the object: see ``plugin`` and ``refused_by``.

    Most answer 403. A webhook or a policy may answer with any status: it stays this error, so that
    a webhook's 409 or 429 is not tried again, and its 401 not taken for expired credentials.
    """


class QuotaExceeded(AdmissionRefused):
    """A ResourceQuota of the namespace, ``refused_by``, is used up (403)."""


class Throttled(ApiError):
    """The API server asks to slow down (429)."""


class RangeFull(ApiError):
    """The cluster has no NodePort, or no address for a Service, left to give (500)."""


class ServerError(ApiError):
    """The API server failed (5xx); whether it carried the request out is not known."""


class TransportError(PodfleetError):
    """No answer came: the connection, TLS or the time failed.

    Whether the API server carried the request out is not known.
    """


class AllocationError(PodfleetError):
    """``allocate`` could not hand out a server; it left nothing behind.

    Attributes:
        diagnosis: What the cluster said last about the server that was waited for,
            or ``None`` if it said nothing.
    """

    def __init__(self, message: str, *, diagnosis: Diagnosis | None = None) -> None:
        super().__init__(message)
        self.diagnosis = diagnosis


class Exhausted(AllocationError):
    """The cluster has no room for another server: no node fits, or a quota is used up."""


class PortPoolExhausted(Exhausted):
    """A `PortPool` cannot give as many ports as were asked.

    Attributes:
        asked: The number of ports asked for.
        free: The number of ports that are free.
        held_by: The holders of each port in use.
    """

    def __init__(
        self,
        message: str,
        *,
        asked: int,
        free: int,
        held_by: Mapping[int, tuple[str, ...]],
        diagnosis: Diagnosis | None = None,
    ) -> None:
        super().__init__(message, diagnosis=diagnosis)
        self.asked = asked
        self.free = free
        self.held_by = held_by


class Contended(AllocationError):
    """Other callers claimed every candidate first: try again."""


class FleetDraining(AllocationError):
    """The fleet is drained, by whichever backend: it hands out no servers until it is reopened."""


class AllocationTimeout(AllocationError, TimeoutError):
    """The time given to ``allocate`` was up before a server was ready.

    Attributes:
        phase: What it was doing when the time was up.
    """

    def __init__(
        self,
        message: str,
        *,
        phase: AllocationPhase | None = None,
        diagnosis: Diagnosis | None = None,
    ) -> None:
        super().__init__(message, diagnosis=diagnosis)
        self.phase = phase


class ServerUnreachable(AllocationError):
    """The session has a server, but its node stopped reporting (``allow_unreachable=False``).

    The session keeps it. It may come back with all its players, or be gone: release it and
    allocate again if you cannot wait, at the risk that the old process still runs.

    Attributes:
        server: The server's name.
        since: Since when its node does not report.
    """

    def __init__(
        self, message: str, *, server: str, since: datetime, diagnosis: Diagnosis | None = None
    ) -> None:
        super().__init__(message, diagnosis=diagnosis)
        self.server = server
        self.since = since


class DrainEnded(PodfleetError):
    """`Fleet.drain` ended before the fleet was empty: it was reopened, or stopped here."""


class ServerFailed(PodfleetError):
    """A server will never be ready.

    Attributes:
        diagnosis: Why, with the reason, the exit code, the message, events and the last log lines.
    """

    def __init__(self, message: str, *, diagnosis: Diagnosis) -> None:
        super().__init__(message)
        self.diagnosis = diagnosis


class WaitTimeout(PodfleetError, TimeoutError):
    """The time given to a waiter was up.

    Attributes:
        diagnosis: What the cluster said last, or ``None``.
    """

    def __init__(self, message: str, *, diagnosis: Diagnosis | None = None) -> None:
        super().__init__(message)
        self.diagnosis = diagnosis
