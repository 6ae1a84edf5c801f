"""What the API server's JSON says, read without what nobody needs. Pure.

A write's own answer is mostly here before the event that tells of it, so an event is glanced at
first. And who wrote which field, which is two fifths of a Pod, is not read at all.
"""

from __future__ import annotations

import json
import re
from typing import Any

from attrs import frozen

__all__ = ["Glimpse", "glance", "parse", "without_managed_fields"]

# As the API server writes every typed object: apimachinery, meta/v1/types.go, ObjectMeta. What is
# written otherwise is no match, and is parsed.
_CHANGED = re.compile(
    rb'\{"type":"(?:ADDED|MODIFIED)","object":\{"kind":"\w+","apiVersion":"[\w./]+",'
    rb'"metadata":\{"name":"([\w.-]+)",(?:"generateName":"[\w.-]+",)?"namespace":"[\w-]+",'
    rb'"uid":"([\w-]+)","resourceVersion":"(\d+)"'
)


@frozen
class Glimpse:
    """Which object an event is of.

    Args:
        name: The object's name.
        uid: Its UID.
        version: Its resourceVersion.
    """

    name: str
    uid: str
    version: str


def glance(line: bytes) -> Glimpse | None:
    """Return which object was added or changed; ``None`` if that cannot be told at a glance.

    Example:
        >>> glance(b'{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1","metadata":'
        ...     b'{"name":"a","namespace":"b","uid":"c","resourceVersion":"7","labels":{}}}}')
        Glimpse(name='a', uid='c', version='7')
        >>> glance(b'{"type":"BOOKMARK","object":{}}')
    """
    found = _CHANGED.match(line)
    return None if found is None else Glimpse(*(part.decode() for part in found.groups()))


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the event; ``None`` if the line is none.

    Example:
        >>> parse(b'{"type": "BOOKMARK", "object": {}}')
        {'type': 'BOOKMARK', 'object': {}}
        >>> parse(b"[")
    """
    try:
        event = json.loads(without_managed_fields(line))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def without_managed_fields(text: bytes) -> bytes:
    """Return an object's JSON without the managedFields of its metadata, if that is easily done.

    They are the last of the metadata (ObjectMeta), and a spec follows. Neither mark can stand in a
    string, where quotes are escaped; nor the second in managedFields, where a spec is "f:spec".

    Example:
        >>> without_managed_fields(b'{"metadata":{"name":"a","managedFields":[{}]},"spec":{}}')
        b'{"metadata":{"name":"a"},"spec":{}}'
    """
    start = text.find(b',"managedFields":[')
    end = -1 if start < 0 else text.find(b']},"spec":{', start)
    return text if end < 0 else text[:start] + text[end + 1 :]
