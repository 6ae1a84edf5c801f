"""The four patches of the Kubernetes API. Pure.

Own code: `jsonpatch`, the library for RFC 6902, is untyped and differs from the API server where
it matters here (``test`` of a path that is not there; what is an error at all), and for the
other three there is none.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from podfleet.local.objects.statuses import bad_request, rejected

__all__ = ["apply", "json_patch", "merge", "strategic"]

# The keys by which the items of a list are known: k8s.io/api, patchMergeKey and listMapKey.
_KEYS = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "secrets": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
_SETS = ("finalizers",)
_DELETE = object()


def json_patch(shown: Any, operations: Any) -> Any:
    """Return an object after the operations of RFC 6902.

    Raises:
        Refusal: One cannot be applied, a ``test`` above all; or it is no patch.
    """
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise bad_request("error decoding patch: it must be a list of operations")
    changed = copy.deepcopy(shown)
    for operation in operations:
        try:
            changed = _operate(changed, operation)
        except (KeyError, IndexError, ValueError, TypeError):
            raise rejected() from None
    return changed


def _operate(document: Any, operation: Mapping[str, Any]) -> Any:
    name, path = operation["op"], _pointer(operation["path"])
    if name == "test":
        if not _equal(_read(document, path), operation.get("value")):
            raise ValueError
        return document
    if name in ("move", "copy"):
        origin = _pointer(operation["from"])
        value = copy.deepcopy(_get(document, origin))
        if name == "move":
            _remove(document, origin)
        return _add(document, path, value)
    if name == "remove":
        _remove(document, path)
        return document
    if name not in ("add", "replace"):
        raise ValueError
    if name == "replace":
        _get(document, path)
    return _add(document, path, copy.deepcopy(operation["value"]), replace=name == "replace")


def _pointer(path: Any) -> list[str]:
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise ValueError
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _get(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        document = (
            document[_index(document, part)] if isinstance(document, list) else document[part]
        )
    return document


def _read(document: Any, path: Sequence[str]) -> Any:
    """Return what is there; ``None`` where the last step leads nowhere."""
    parent = _get(document, path[:-1])
    if path and isinstance(parent, dict):
        return parent.get(path[-1])
    return _get(document, path)


def _index(items: list[Any], part: str) -> int:
    if not part.isdecimal() or int(part) >= len(items):
        raise IndexError
    return int(part)


def _add(document: Any, path: Sequence[str], value: Any, *, replace: bool = False) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif not isinstance(parent, list):
        raise TypeError
    elif replace:
        parent[_index(parent, path[-1])] = value
    elif path[-1] == "-" or path[-1] == str(len(parent)):
        parent.append(value)
    else:
        parent.insert(_index(parent, path[-1]), value)
    return document


def _remove(document: Any, path: Sequence[str]) -> None:
    parent = _get(document, path[:-1])
    del parent[_index(parent, path[-1]) if isinstance(parent, list) else path[-1]]


def _equal(one: Any, other: Any) -> bool:
    # JSON has no booleans that are numbers.
    return (
        type(one) is type(other) and bool(one == other)
        if isinstance(one, bool)
        else bool(one == other and not isinstance(other, bool))
    )


def merge(shown: Any, patch: Any) -> Any:
    """Return an object after a merge patch (RFC 7386).

    Example:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"b": None}})
        {'a': {'c': 2}}
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    changed = dict(shown) if isinstance(shown, dict) else {}
    for key, value in patch.items():
        if value is None:
            changed.pop(key, None)
        else:
            changed[key] = merge(changed.get(key), value)
    return changed


def strategic(shown: Any, patch: Any) -> Any:
    """Return an object after a strategic merge patch, as ``kubectl apply`` sends it.

    Example:
        >>> strategic({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B"}]})
        {'env': [{'name': 'A', 'value': '1'}, {'name': 'B'}]}
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    changed = dict(shown) if isinstance(shown, dict) else {}
    if "$retainKeys" in patch:
        changed = {key: value for key, value in changed.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        field = key.partition("/")[2]
        if key.startswith("$deleteFromPrimitiveList/"):
            changed[field] = [one for one in changed.get(field) or [] if one not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            changed.pop(key, None)
        elif isinstance(value, list):
            changed[key] = _strategic_list(key, changed.get(key), value)
        else:
            changed[key] = strategic(changed.get(key), value)
    for key, order in patch.items():
        if key.startswith("$setElementOrder/") and changed.get(key.partition("/")[2]):
            field = key.partition("/")[2]
            changed[field] = _ordered(field, changed[field], order)
    return changed


def _strategic_list(field: str, shown: Any, patch: list[Any]) -> list[Any]:
    found = list(shown or [])
    if field in _SETS:
        return found + [one for one in patch if one not in found]
    key = _merge_key(field, patch)
    if key is None or any(one.get("$patch") == "replace" for one in patch):
        return [one for one in copy.deepcopy(patch) if "$patch" not in one] if key else list(patch)
    for one in patch:
        place = next((n for n, it in enumerate(found) if it.get(key) == one.get(key)), None)
        if one.get("$patch") == "delete":
            found = [it for it in found if it.get(key) != one.get(key)]
        elif place is None:
            found.append(strategic({}, one))
        else:
            found[place] = strategic(found[place], one)
    return found


def _merge_key(field: str, items: Sequence[Any]) -> str | None:
    if not items or not all(isinstance(one, dict) for one in items):
        return None
    if field == "ports":  # a container's, or a Service's
        return "containerPort" if "containerPort" in items[0] else "port"
    return _KEYS.get(field)


def _ordered(field: str, items: list[Any], order: list[Any]) -> list[Any]:
    key = _merge_key(field, items)
    wanted = [one[key] if isinstance(one, dict) and key else one for one in order]
    known = {id(one): one.get(key) if isinstance(one, dict) and key else one for one in items}
    last = len(wanted)
    return sorted(
        items, key=lambda one: wanted.index(known[id(one)]) if known[id(one)] in wanted else last
    )


def apply(shown: Any, before: Any, wanted: Any, field: str = "") -> Any:
    """Return an object after a server-side apply.

    Args:
        shown: The object as it is.
        before: What the same manager applied the last time: what it now leaves out goes.
        wanted: What it applies.
        field: The name of what is applied, for the keys of its items.

    Example:
        >>> apply({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2}, {"a": 5})
        {'a': 5, 'c': 3}
    """
    if isinstance(wanted, dict):
        found = dict(shown) if isinstance(shown, dict) else {}
        former = before if isinstance(before, dict) else {}
        for key in former.keys() - wanted.keys():
            found.pop(key, None)
        for key, value in wanted.items():
            found[key] = apply(found.get(key), former.get(key), value, key)
        return found
    if isinstance(wanted, list) and _identities(field, wanted) is not None:
        return _apply_list(field, shown or [], before or [], wanted)
    return copy.deepcopy(wanted)


def _apply_list(field: str, shown: list[Any], before: list[Any], wanted: list[Any]) -> list[Any]:
    ids = _identities(field, wanted) or []
    former = dict(zip(_identities(field, before) or [], before, strict=True))
    found = dict(zip(_identities(field, shown) or [], shown, strict=True))
    for gone in former.keys() - set(ids):
        found.pop(gone, None)
    applied = {
        one: apply(found.get(one), former.get(one), item)
        for one, item in zip(ids, wanted, strict=True)
    }
    return [*applied.values(), *(item for one, item in found.items() if one not in applied)]


def _identities(field: str, items: Sequence[Any]) -> list[Any] | None:
    """Return what the items of a list are known by; ``None`` if it is replaced as a whole."""
    key = _merge_key(field, items)
    if key is None:
        return None if items else []
    if field == "ports":
        return [(one.get(key), one.get("protocol", "TCP")) for one in items]
    return [one.get(key) for one in items]
