"""A kubeconfig as it is written: every mistake in one is found here, and told with its file."""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import yaml
from attrs import frozen

from podfleet.errors import ConfigurationError

__all__ = ["Context", "Entry", "Stamp", "read", "stamp_of"]

Stamp: TypeAlias = tuple[int, int, int] | None
"""What tells a file's version: when it was written, its size, its inode; ``None`` if it is gone."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHOWN = 10  # names in an error
_SETTLED = 2 * 10**9  # nanoseconds; file systems tell times to some milliseconds, or a second
_LISTS = {"contexts": "context", "clusters": "cluster", "users": "user"}


def stamp_of(file: str) -> Stamp:
    """Return what tells a file's version; links are followed, as a kubelet replaces those."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@frozen
class Entry:
    """A named entry of a kubeconfig: a context, a cluster or a user.

    Args:
        kind: Which of them.
        name: Its name.
        values: What it says.
        file: The kubeconfig that it stands in.
    """

    kind: str
    name: str
    values: Mapping[str, Any]
    file: str

    def wrong(self, what: str) -> ConfigurationError:
        """Return the error for a mistake in this entry."""
        return ConfigurationError(
            "Cluster.kubeconfig", self.file, f"its {self.kind} {self.name!r} {what}"
        )

    def text(self, key: str) -> str | None:
        """Return a text; ``None`` if there is none."""
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise self.wrong(f"has a {key} that is no text: write it in quotes")
        return value

    def flag(self, key: str) -> bool:
        """Return a truth value."""
        value = self.values.get(key)
        if not isinstance(value, bool | None):
            raise self.wrong(f"has a {key} that is neither true nor false")
        return bool(value)

    def path(self, key: str) -> str | None:
        """Return the path of an existing file: a relative one begins at the kubeconfig's folder."""
        named = self.text(key)
        if named is None:
            return None
        path = os.path.normpath(os.path.join(self.folder, named))
        if not os.path.isfile(path):
            raise self.wrong(f"names a {key} that does not exist: {path}")
        return path

    def data(self, key: str) -> bytes | None:
        """Return what stands there in base64."""
        value = self.text(key)
        if value is None:
            return None
        try:
            return base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            raise self.wrong(f"has {key} that is not base64") from None

    @property
    def folder(self) -> str:
        """The kubeconfig's folder."""
        return os.path.dirname(os.path.abspath(self.file))


@frozen
class Context:
    """A context, with what it names.

    Args:
        name: Its name.
        namespace: Its namespace, if it has one.
        cluster: The cluster.
        user: The user; ``None`` if it has none.
        files: The kubeconfigs that were read, each with its version before that.
    """

    name: str
    namespace: str | None
    cluster: Entry
    user: Entry | None
    files: Mapping[str, Stamp]


def read(files: Sequence[str], context: str | None) -> Context:
    """Return a context of kubeconfigs, merged as kubectl does: what comes first counts.

    Args:
        files: Their paths; those that do not exist are passed over.
        context: Its name; by default the current one.

    Raises:
        ConfigurationError: There is none, or it is wrong.
    """
    there = {file: stamp_of(file) for file in files if os.path.exists(file)}
    shown = os.pathsep.join(there)
    entries: dict[str, dict[str, Entry]] = {kind: {} for kind in _LISTS.values()}
    current: str | None = None
    is_empty = True
    for file in there:
        content = _content(file, there[file])
        is_empty = is_empty and not content
        for plural, kind in _LISTS.items():
            for entry in _entries(file, content, plural, kind):
                entries[kind].setdefault(entry.name, entry)
        current = current or Entry("file", file, content, file).text("current-context")
    if is_empty:
        raise ConfigurationError("Cluster.kubeconfig", shown, "is empty: name another, or write it")
    name = context or current
    if name is None:
        raise ConfigurationError(
            "Cluster.kubeconfig",
            shown,
            f"has no current-context: name a context ({_names(entries['context'])})",
        )
    found = _named(entries["context"], "context", name, shown)
    cluster_name, user_name = found.text("cluster"), found.text("user")
    if cluster_name is None:
        raise found.wrong("names no cluster")
    user = None
    if user_name is not None:
        user = _named(entries["user"], "user", user_name, shown)
    cluster = _named(entries["cluster"], "cluster", cluster_name, shown)
    return Context(name, found.text("namespace"), cluster, user, there)


def _named(among: Mapping[str, Entry], kind: str, name: str, files: str) -> Entry:
    if name not in among:
        raise ConfigurationError(
            "Cluster.kubeconfig", files, f"has no {kind} {name!r}: it has {_names(among)}"
        )
    return among[name]


def _names(among: Mapping[str, Entry]) -> str:
    shown = sorted(among)
    rest = [f"{len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
    return ", ".join([*shown[:_SHOWN], *rest]) or "none"


def _content(file: str, stamp: Stamp) -> Mapping[str, Any]:
    # What was written a moment ago may be written again, and look the same.
    is_settled = stamp is not None and time.time_ns() - stamp[0] > _SETTLED
    content = (_parsed if is_settled else _parsed.__wrapped__)(file, stamp)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(
            "Cluster.kubeconfig", file, f"is no kubeconfig, but a {type(content).__name__} in YAML"
        )
    return content


@lru_cache(maxsize=4)
def _parsed(file: str, _: Stamp) -> Any:
    """Return what a file of this version holds: a large one takes long to parse."""
    try:
        with open(file, "rb") as opened:
            return yaml.load(opened.read(), _LOADER)  # noqa: S506 (both are safe loaders)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError("Cluster.kubeconfig", file, f"cannot be read: {reason}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Not its own words: they show the line, on which a secret may stand.
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (line {mark.line + 1})"
        raise ConfigurationError("Cluster.kubeconfig", file, f"is not YAML{where}") from None


def _entries(file: str, content: Mapping[str, Any], plural: str, kind: str) -> list[Entry]:
    listed = content.get(plural)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise ConfigurationError("Cluster.kubeconfig", file, f"its {plural} are no list")
    entries = []
    for one in listed:
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str):
            raise ConfigurationError(
                "Cluster.kubeconfig", file, f"one of its {plural} has no name that is a text"
            )
        values = one.get(kind) or {}
        if not isinstance(values, dict):
            raise ConfigurationError(
                "Cluster.kubeconfig", file, f"its {kind} {name!r} is no mapping"
            )
        entries.append(Entry(kind, name, values, file))
    return entries
