"""The fields that objects have: what the API server reads of what it is sent. Pure.

A real API server decodes JSON into the types of its version: a value of another type is refused, a
field that it does not know is dropped, and told as a warning, or refused with
``fieldValidation=Strict`` (https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation).
A null is a field that is not there; in a map or a list it is an empty value.

``fields.json`` has the fields of each type, from the models of the official client: a string names
a type, ``[...]`` is a list of these, and ``{"*": ...}`` a map from strings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from podfleet.local.objects.kinds import ISTIO, Kind
from podfleet.local.objects.statuses import Refusal, bad_request, invalid, invalid_value
from podfleet.model import Manifest

__all__ = ["Read", "read", "read_patched"]

_ZERO: Final = {
    "string": "",
    "int": 0,
    "bool": False,
    "number": 0,
    "int-or-string": 0,
    "quantity": "0",
}
_GO: Final = {
    "string": "string",
    "int": "int32",
    "bool": "bool",
    "number": "float64",
    "int-or-string": "intstr.IntOrString",
    "quantity": "resource.Quantity",
}


@frozen
class Read:
    """An object as the API server has read it.

    Args:
        manifest: Of known fields only, each of its type.
        unknown: What was dropped: ``unknown field "spec.container"``.
    """

    manifest: dict[str, Any]
    unknown: tuple[str, ...] = ()


class _WrongType(Exception):
    """A value cannot be read into its field; the text is Go's."""


def read(kind: Kind, sent: Manifest, *, strict: bool = False) -> Read:
    """Return an object of a kind as the API server reads it.

    Args:
        kind: Its kind; of Istio's the fields are not known, and stay as they are.
        sent: What was sent.
        strict: Refuse fields that are not known.

    Raises:
        Refusal: A value of another type, or a field that is not known.
    """
    about = f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: '
    try:
        found = _read(kind, sent)
    except _WrongType as error:
        raise bad_request(f"{about}{error}") from None
    if strict and found.unknown:
        raise bad_request(f"{about}strict decoding error: {', '.join(found.unknown)}")
    return found


def read_patched(kind: Kind, patched: Manifest, *, strict: bool = False) -> Read:
    """Return an object as the API server reads it after a patch.

    Raises:
        Refusal: As `read`; but the API server says that the patch is wrong.
    """
    try:
        return read(kind, patched, strict=strict)
    except Refusal as refusal:
        words = refusal.status["message"].partition(f"cannot be handled as a {kind.name}: ")[2]
        error = invalid_value("patch", json.dumps(patched), words)
        raise invalid(Kind("", "", "", ""), "", [error]) from None


@cache
def _types() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = json.loads(
        Path(__file__).with_name("fields.json").read_text()
    )
    return found


def _read(kind: Kind, sent: Manifest) -> Read:
    unknown: list[str] = []
    if kind in ISTIO:
        made = dict(sent)
        for key in ("metadata", "spec"):
            if made.get(key) is None:
                made.pop(key, None)
            elif not isinstance(made[key], Mapping):
                raise _WrongType(_words(made[key], kind.name, [key], f"v1.{key.title()}"))
        if "metadata" in made:
            made["metadata"] = _object(
                "ObjectMeta", made["metadata"], ["metadata"], "metadata", unknown
            )
        return Read(made, tuple(unknown))
    made = _object(kind.name, sent, [], "", unknown)
    return Read(made, tuple(unknown))


def _object(
    name: str, value: Mapping[str, Any], path: list[str], shown: str, unknown: list[str]
) -> dict[str, Any]:
    known, made = _types()[name], {}
    for key, one in value.items():
        where = f"{shown}.{key}" if shown else key
        if key not in known:
            unknown.append(f"unknown field {json.dumps(where)}")
        elif one is not None:
            made[key] = _value(known[key], one, name, [*path, key], where, unknown)
    return made


def _value(
    wanted: Any, value: Any, owner: str, path: list[str], shown: str, unknown: list[str]
) -> Any:
    if value is None:  # in a list or a map
        return _ZERO.get(wanted, {}) if isinstance(wanted, str) else type(wanted)()
    if isinstance(wanted, list):
        if not isinstance(value, list):
            raise _WrongType(_words(value, owner, path, _go(wanted)))
        return [
            _value(wanted[0], one, owner, path, f"{shown}[{at}]", unknown)
            for at, one in enumerate(value)
        ]
    if isinstance(wanted, dict):
        if not isinstance(value, Mapping):
            raise _WrongType(_words(value, owner, path, _go(wanted)))
        return {
            key: _value(wanted["*"], one, owner, path, f"{shown}.{key}", unknown)
            for key, one in value.items()
        }
    if wanted in _types():
        if not isinstance(value, Mapping):
            raise _WrongType(_words(value, owner, path, _go(wanted)))
        return _object(wanted, value, path, shown, unknown)
    if not _fits(wanted, value):
        raise _WrongType(_words(value, owner, path, _go(wanted)))
    return value


def _fits(wanted: str, value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_whole = is_number and isinstance(value, int)
    match wanted:
        case "string":
            return isinstance(value, str)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return is_whole
        case "number":
            return is_number
        case "int-or-string":
            return is_whole or isinstance(value, str)
        case "quantity":
            return is_number or isinstance(value, str)
    return True


def _go(wanted: Any) -> str:
    """Return the name of a type in Go."""
    if isinstance(wanted, list):
        return f"[]{_go(wanted[0])}"
    if isinstance(wanted, dict):
        return f"map[string]{_go(wanted['*'])}"
    return _GO.get(wanted, f"v1.{wanted}")


def _words(value: object, owner: str, path: list[str], go: str) -> str:
    """Return what Go's ``encoding/json`` says (UnmarshalTypeError)."""
    name = {str: "string", bool: "bool", list: "array"}.get(type(value), "object")
    if isinstance(value, float) and not go.endswith("string"):
        name = f"number {value}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        name = "number"
    where = f"Go struct field {owner}.{'.'.join(path)}"
    return f"json: cannot unmarshal {name} into {where} of type {go}"
