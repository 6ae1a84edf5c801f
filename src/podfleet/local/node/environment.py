"""A container's environment and command line, as Kubernetes makes them. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from podfleet.local.controllers.scheduler import quantity
from podfleet.local.objects.kinds import CONFIG_MAP, SECRET, Kind
from podfleet.model import Manifest
from podfleet.model.manifest import annotations_of, labels_of

__all__ = ["Find", "Missing", "environment", "expand", "pod_field", "values"]

Find = Callable[[Kind, str], "Manifest | None"]
"""Returns an object of the Pod's namespace."""

_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class Missing(Exception):
    """A ConfigMap, a Secret, or a key of one, that is not there."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """Return a text with its ``$(VAR)`` replaced; ``$$`` is a dollar.

    Example:
        >>> expand("$(HOST):$(PORT) $$(HOST) $(NONE)", {"HOST": "a", "PORT": "1"})
        'a:1 $(HOST) $(NONE)'
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return env.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]+)\)", value, text)


def environment(pod: Manifest, container: Manifest, find: Find) -> dict[str, str]:
    """Return the variables that a container asks for.

    Raises:
        Missing: What one comes from is not there.
    """
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for field, kind in (("configMapRef", CONFIG_MAP), ("secretRef", SECRET)):
            if source.get(field):
                found = values(kind, source[field], find)
                env |= {f"{source.get('prefix', '')}{key}": value for key, value in found.items()}
    for one in container.get("env") or []:
        value = _value(one, pod, container, find, env)
        if value is not None:
            env[one["name"]] = value
    return env


def _value(
    one: Mapping[str, Any],
    pod: Manifest,
    container: Manifest,
    find: Find,
    env: Mapping[str, str],
) -> str | None:
    origin = one.get("valueFrom")
    if not origin:
        return expand(one.get("value") or "", env)
    if origin.get("fieldRef"):
        return pod_field(pod, origin["fieldRef"]["fieldPath"])
    if origin.get("resourceFieldRef"):
        return _resource(container, origin["resourceFieldRef"]["resource"])
    for field, kind in (("configMapKeyRef", CONFIG_MAP), ("secretKeyRef", SECRET)):
        reference = origin.get(field)
        if reference:
            found = values(kind, reference, find)
            if reference["key"] not in found and not reference.get("optional"):
                words = f"couldn't find key {reference['key']} in {kind.name}"
                raise Missing(f"{words} {pod['metadata']['namespace']}/{reference['name']}")
            return found.get(reference["key"])
    return None


def values(kind: Kind, reference: Mapping[str, Any], find: Find) -> dict[str, str]:
    """Return what is in a ConfigMap or a Secret.

    Raises:
        Missing: There is none, and it is not optional.
    """
    found = find(kind, reference["name"])
    if found is None:
        if reference.get("optional"):
            return {}
        raise Missing(f'{kind.name.lower()} "{reference["name"]}" not found')
    data = dict(found.get("data") or {})
    if kind == SECRET:
        data = {key: base64.b64decode(value).decode() for key, value in data.items()}
        data |= found.get("stringData") or {}
    return data


def pod_field(pod: Manifest, path: str) -> str:
    """Return a field of a Pod, as the downward API gives it.

    Example:
        >>> pod_field({"metadata": {"labels": {"map": "dust"}}}, "metadata.labels['map']")
        'dust'
    """
    keyed = _KEYED.fullmatch(path)
    if keyed:
        shown = labels_of(pod) if keyed[1] == "labels" else annotations_of(pod)
        return shown.get(keyed[2], "")
    if path in ("metadata.labels", "metadata.annotations"):
        shown = labels_of(pod) if path == "metadata.labels" else annotations_of(pod)
        return "\n".join(f'{key}="{_escaped(value)}"' for key, value in sorted(shown.items()))
    if path in ("status.podIPs", "status.hostIPs"):
        return ",".join(one["ip"] for one in pod["status"].get(path[7:]) or [])
    value: Any = pod
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return "" if value is None else str(value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resource(container: Manifest, path: str) -> str:
    kind, _, name = path.partition(".")
    amount = ((container.get("resources") or {}).get(kind) or {}).get(name, "0")
    number = quantity(amount)
    return str(int(number) + (number > int(number)))
