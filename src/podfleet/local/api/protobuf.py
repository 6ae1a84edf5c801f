"""Bodies in protobuf, which Go clients send instead of JSON: ``kubectl create``, ``kubectl auth``.

Own code: for `protobuf`, the library, the messages would have to be compiled. Here are those that
kubectl sends, from the generated.proto files of k8s.io/api and k8s.io/apimachinery. Answers are
JSON, which these clients take. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

from attrs import frozen

from podfleet.local.objects.statuses import Refusal, bad_request, not_implemented

__all__ = ["TYPE", "decode"]

TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

_Decode: TypeAlias = Callable[[Any], Any]


@frozen
class _List:
    of: _Decode


@frozen
class _Map:
    of: _Decode


_Fields: TypeAlias = Mapping[int, tuple[str, "_Decode | _List | _Map"] | None]
"""By number: a field's name and what it is; ``None`` is left out, as the server sets it."""


def decode(raw: bytes) -> dict[str, Any]:
    """Return the object of a body.

    Raises:
        Refusal: It is of a kind that is not known here, or broken.
    """
    try:
        if not raw.startswith(_MAGIC):
            raise ValueError
        envelope = dict(_parts(raw[len(_MAGIC) :]))
        about: dict[str, Any] = _message(_ABOUT, envelope[1])
        if about["kind"] not in _KINDS:
            words = f"podfleet's embedded cluster takes a {about['kind']} as JSON, not as protobuf"
            raise Refusal(415, "UnsupportedMediaType", words)
        return {**about, **_message(_KINDS[about["kind"]], envelope.get(2, b""))}
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        raise bad_request("couldn't parse it: the body is no protobuf") from None


def _parts(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a message: their numbers, and numbers or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _varint(data, at)
        if key & 7 == 0:
            yield key >> 3, value
        elif key & 7 == 2 and at + value <= len(data):
            yield key >> 3, data[at : at + value]
            at += value
        else:
            raise ValueError


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _message(fields: _Fields, data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _parts(data):
        known = fields.get(number, ("", _unknown))
        if known is None:
            continue
        name, kind = known
        if isinstance(kind, _List):
            found.setdefault(name, []).append(kind.of(value))
        elif isinstance(kind, _Map):
            entry = dict(_parts(value))
            found.setdefault(name, {})[entry.get(1, b"").decode()] = kind.of(entry.get(2, b""))
        elif (one := kind(value)) is not None and one not in ("", {}):  # Go sends what is not set
            found[name] = one
    return found


def _unknown(value: Any) -> None:
    if value:
        raise not_implemented("this field in protobuf: send JSON instead")


def _text(value: bytes) -> str:
    return value.decode()


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _number(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _set_number(value: int) -> int | None:
    return _number(value) or None


def _quantity(value: bytes) -> str:
    return _text(dict(_parts(value))[1])


def _number_or_text(value: bytes) -> int | str | None:
    parts = dict(_parts(value))
    return _text(parts[3]) if parts.get(1) else _set_number(parts.get(2, 0))


def _of(fields: _Fields) -> _Decode:
    return partial(_message, fields)


_ABOUT: _Fields = {1: ("apiVersion", _text), 2: ("kind", _text)}
_NAME: _Fields = {1: ("name", _text)}
_OWNER: _Fields = {
    1: ("kind", _text),
    3: ("name", _text),
    4: ("uid", _text),
    5: ("apiVersion", _text),
    6: ("controller", bool),
    7: ("blockOwnerDeletion", bool),
}
_META: _Fields = {
    1: ("name", _text),
    2: ("generateName", _text),
    3: ("namespace", _text),
    4: None,
    5: ("uid", _text),
    6: ("resourceVersion", _text),
    7: None,
    8: None,
    9: None,
    10: None,
    11: ("labels", _Map(_text)),
    12: ("annotations", _Map(_text)),
    13: ("ownerReferences", _List(_of(_OWNER))),
    14: ("finalizers", _List(_text)),
    17: None,
}
_PRECONDITIONS: _Fields = {1: ("uid", _text), 2: ("resourceVersion", _text)}
_REFERENCE: _Fields = {
    1: ("kind", _text),
    2: ("namespace", _text),
    3: ("name", _text),
    4: ("uid", _text),
    5: ("apiVersion", _text),
    6: ("resourceVersion", _text),
    7: ("fieldPath", _text),
}
_RULE: _Fields = {
    1: ("verbs", _List(_text)),
    2: ("apiGroups", _List(_text)),
    3: ("resources", _List(_text)),
    4: ("resourceNames", _List(_text)),
    5: ("nonResourceURLs", _List(_text)),
}
_SUBJECT: _Fields = {
    1: ("kind", _text),
    2: ("apiGroup", _text),
    3: ("name", _text),
    4: ("namespace", _text),
}
_ROLE_REFERENCE: _Fields = {1: ("apiGroup", _text), 2: ("kind", _text), 3: ("name", _text)}
_ASKED: _Fields = {
    1: ("namespace", _text),
    2: ("verb", _text),
    3: ("group", _text),
    4: ("version", _text),
    5: ("resource", _text),
    6: ("subresource", _text),
    7: ("name", _text),
}
_PORT: _Fields = {
    1: ("name", _text),
    2: ("protocol", _text),
    3: ("port", _number),
    4: ("targetPort", _number_or_text),
    5: ("nodePort", _set_number),
    6: ("appProtocol", _text),
}
_SERVICE: _Fields = {
    1: ("ports", _List(_of(_PORT))),
    2: ("selector", _Map(_text)),
    3: ("clusterIP", _text),
    4: ("type", _text),
    5: ("externalIPs", _List(_text)),
    7: ("sessionAffinity", _text),
    8: ("loadBalancerIP", _text),
    9: ("loadBalancerSourceRanges", _List(_text)),
    10: ("externalName", _text),
    11: ("externalTrafficPolicy", _text),
    12: ("healthCheckNodePort", _set_number),
    13: ("publishNotReadyAddresses", bool),
    17: ("ipFamilyPolicy", _text),
    18: ("clusterIPs", _List(_text)),
    19: ("ipFamilies", _List(_text)),
    22: ("internalTrafficPolicy", _text),
}
_QUOTA: _Fields = {1: ("hard", _Map(_quantity)), 2: ("scopes", _List(_text))}
_TOKEN: _Fields = {1: ("audiences", _List(_text)), 4: ("expirationSeconds", _number)}


def _object(fields: _Fields) -> _Fields:
    return {1: ("metadata", _of(_META)), **fields}


def _specified(fields: _Fields) -> _Fields:
    return _object({2: ("spec", _of(fields)), 3: None})


_ROLE = _object({2: ("rules", _List(_of(_RULE)))})
_BINDING = _object({2: ("subjects", _List(_of(_SUBJECT))), 3: ("roleRef", _of(_ROLE_REFERENCE))})
_KINDS: dict[str, _Fields] = {
    "DeleteOptions": {
        1: ("gracePeriodSeconds", _number),
        2: ("preconditions", _of(_PRECONDITIONS)),
        4: ("propagationPolicy", _text),
        5: ("dryRun", _List(_text)),
    },
    "ClusterRole": _ROLE,
    "ClusterRoleBinding": _BINDING,
    "ConfigMap": _object(
        {2: ("data", _Map(_text)), 3: ("binaryData", _Map(_encoded)), 4: ("immutable", bool)}
    ),
    "Namespace": _specified({1: ("finalizers", _List(_text))}),
    "ResourceQuota": _specified(_QUOTA),
    "Role": _ROLE,
    "RoleBinding": _BINDING,
    "Secret": _object(
        {
            2: ("data", _Map(_encoded)),
            3: ("type", _text),
            4: ("stringData", _Map(_text)),
            5: ("immutable", bool),
        }
    ),
    "SelfSubjectAccessReview": _specified({1: ("resourceAttributes", _of(_ASKED))}),
    "Service": _specified(_SERVICE),
    "ServiceAccount": _object(
        {
            2: ("secrets", _List(_of(_REFERENCE))),
            3: ("imagePullSecrets", _List(_of(_NAME))),
            4: ("automountServiceAccountToken", bool),
        }
    ),
    "TokenRequest": _specified(_TOKEN),
}
