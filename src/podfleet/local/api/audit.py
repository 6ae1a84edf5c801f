"""`AuditEvent`: a request that the embedded API server answered, as an audit log has it."""

from __future__ import annotations

from attrs import frozen

__all__ = ["AuditEvent"]


@frozen
class AuditEvent:
    """A request that the API server has answered, refused ones included.

    Args:
        user: Who sent it: ``system:serviceaccount:games:backend``; ``""`` if it is not known.
        method: The HTTP method.
        path: The path with its query; the token of the embedded cluster's URL is not in it.
        code: The HTTP status that it was answered with; 0 if the client was gone by then.
    """

    user: str
    method: str
    path: str
    code: int
