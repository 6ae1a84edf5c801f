"""The refusals of an API server, with its codes, its reasons and its words.

From k8s.io/apimachinery, pkg/api/errors/errors.go and pkg/util/validation/field/errors.go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from podfleet.local.objects.kinds import Kind

__all__ = [
    "FieldError",
    "Refusal",
    "already_exists",
    "bad_request",
    "conflict",
    "duplicate",
    "expired",
    "forbidden",
    "forbidden_field",
    "internal",
    "invalid",
    "invalid_value",
    "not_found",
    "not_implemented",
    "rejected",
    "required",
    "unauthorized",
    "unsupported",
]


class Refusal(Exception):
    """An answer of 400 or more.

    Args:
        code: The HTTP status.
        reason: The machine's word for it.
        message: The server's sentence.
        details: What it is about.
    """

    def __init__(
        self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details is not None else {}),
            "code": code,
        }


@frozen
class FieldError:
    """What is wrong with one field of an object."""

    reason: str
    field: str
    message: str


def required(field: str, why: str = "") -> FieldError:
    """A field is missing."""
    return FieldError("FieldValueRequired", field, f"Required value{why and f': {why}'}")


def invalid_value(field: str, value: object, why: str) -> FieldError:
    """A field has a value that it cannot have."""
    return FieldError("FieldValueInvalid", field, f"Invalid value: {json.dumps(value)}: {why}")


def duplicate(field: str, value: object) -> FieldError:
    """Two items of a list are the same."""
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {json.dumps(value)}")


def forbidden_field(field: str, why: str) -> FieldError:
    """A field may not be set, or not be changed."""
    return FieldError("FieldValueForbidden", field, f"Forbidden: {why}")


def unsupported(field: str, value: object, known: Sequence[str]) -> FieldError:
    """A field has none of the values that it can have."""
    listed = ", ".join(json.dumps(one) for one in sorted(known))
    message = f"Unsupported value: {json.dumps(value)}: supported values: {listed}"
    return FieldError("FieldValueNotSupported", field, message)


def invalid(kind: Kind, name: str, errors: Sequence[FieldError]) -> Refusal:
    """Return the refusal of an object whose fields are wrong."""
    told = [f"{error.field}: {error.message}" for error in errors]
    words = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    causes = [
        {"reason": error.reason, "message": error.message, "field": error.field} for error in errors
    ]
    return Refusal(
        422,
        "Invalid",
        f'{kind.qualified_name} "{name}" is invalid: {words}',
        {"name": name, **_group(kind), "kind": kind.name, "causes": causes},
    )


def rejected() -> Refusal:
    """Return the refusal of a JSON patch that cannot be applied: a ``test`` failed, mostly."""
    words = "the server rejected our request due to an error in our request"
    return Refusal(422, "Invalid", words, {})


def not_found(kind: Kind, name: str) -> Refusal:
    """Return the answer for an object that there is not."""
    return Refusal(404, "NotFound", f'{kind.resource} "{name}" not found', _about(kind, name))


def already_exists(kind: Kind, name: str) -> Refusal:
    """Return the answer for a name that is taken."""
    words = f'{kind.resource} "{name}" already exists'
    return Refusal(409, "AlreadyExists", words, _about(kind, name))


def conflict(kind: Kind, name: str, why: str = "", *, by_kind: bool = False) -> Refusal:
    """Return the answer to a write that is based on what is past.

    Args:
        kind: The object's kind.
        name: Its name.
        why: What does not match; by default, that it was written meanwhile.
        by_kind: Whether the server names it by its kind, as the preconditions of a delete do.
    """
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try "
        "again"
    )
    what = kind.qualified_name if by_kind else kind.resource
    details = {"name": name, **_group(kind), "kind": kind.name if by_kind else kind.plural}
    words = f'Operation cannot be fulfilled on {what} "{name}": {why}'
    return Refusal(409, "Conflict", words, details)


def forbidden(kind: Kind, name: str, why: str, causes: Sequence[Mapping[str, str]] = ()) -> Refusal:
    """Return the refusal by a right that is missing, or by an admission check."""
    subject = f'{kind.resource} "{name}"' if name else kind.resource
    details = {**_about(kind, name), **({"causes": list(causes)} if causes else {})}
    return Refusal(403, "Forbidden", f"{subject} is forbidden: {why}", details)


def unauthorized() -> Refusal:
    """Return the answer to credentials that nobody has."""
    return Refusal(401, "Unauthorized", "Unauthorized")


def bad_request(message: str) -> Refusal:
    """Return the answer to what makes no sense."""
    return Refusal(400, "BadRequest", message)


def expired(message: str) -> Refusal:
    """Return the answer to a version that was compacted away."""
    return Refusal(410, "Expired", message)


def internal(message: str) -> Refusal:
    """Return the answer of a server that failed."""
    details = {"causes": [{"message": message}]}
    return Refusal(500, "InternalError", f"Internal error occurred: {message}", details)


def not_implemented(what: str) -> Refusal:
    """Return the embedded cluster's own answer: it is a stand-in, and this is not in it."""
    words = f"podfleet's embedded cluster has no {what}: use a real cluster for it"
    return Refusal(501, "NotImplemented", words)


def _about(kind: Kind, name: str) -> dict[str, Any]:
    return {**({"name": name} if name else {}), **_group(kind), "kind": kind.plural}


def _group(kind: Kind) -> dict[str, str]:
    return {"group": kind.group} if kind.group else {}
