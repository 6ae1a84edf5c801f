"""`Registry`: makes, changes and removes objects as the API server does, with all its rules.

The API serves it to clients; the cluster's own controllers use it directly.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from podfleet.chance import CHANCE
from podfleet.local.clock import Clock, parse
from podfleet.local.objects import admission, checks
from podfleet.local.objects.defaults import fill, initial_status
from podfleet.local.objects.kinds import NAMESPACE, SERVICE, Kind
from podfleet.local.objects.services import Allocator
from podfleet.local.objects.statuses import (
    FieldError,
    already_exists,
    bad_request,
    conflict,
    internal,
    invalid,
    invalid_value,
    not_found,
    not_implemented,
)
from podfleet.local.objects.store import Key, Store
from podfleet.model import Manifest
from podfleet.model.manifest import name_of

__all__ = ["Registry"]

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_BASE = 58  # of a generated name
_OWN = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "selfLink",
    "resourceVersion",
)


@define
class Registry:
    """Writes objects.

    Args:
        store: Where they are kept.
        clock: What they are stamped by.
        services: Gives Services their addresses.
    """

    store: Store
    clock: Clock
    services: Allocator
    _applied: dict[tuple[str, str], Manifest] = field(factory=dict)

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Return an object.

        Raises:
            Refusal: There is none of that name.
        """
        found = self.store.get(kind, (namespace, name))
        if found is None:
            raise not_found(kind, name)
        return found

    def create(
        self, kind: Kind, namespace: str, body: Manifest, *, dry_run: bool = False
    ) -> Manifest:
        """Make an object.

        Args:
            kind: Its kind.
            namespace: Of the request; ``""`` for none.
            body: What was sent.
            dry_run: Check it only.

        Raises:
            Refusal: It cannot be made.
        """
        wanted: dict[str, Any] = copy.deepcopy(dict(body))
        metadata = _prepare(kind, namespace, wanted)
        admission.check_namespace(self.store, kind, namespace, metadata.get("name") or "")
        version = metadata.get("resourceVersion")
        for own in _OWN:
            metadata.pop(own, None)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = _generated(metadata["generateName"])
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self.clock.stamp()
        if kind.has_generation:
            metadata["generation"] = 1
        fill(kind, wanted)
        self._refuse(kind, wanted, checks.made(kind, wanted))
        initial_status(kind, wanted)
        admission.admit(self.store, kind, wanted)
        if version:
            raise internal("resourceVersion should not be set on objects to be created")
        key = (namespace, name_of(wanted))
        if self.store.get(kind, key) is not None:
            raise already_exists(kind, key[1])
        if kind == SERVICE:
            self.services.allocate(wanted, self.store.all(SERVICE))
        if dry_run:
            return wanted
        return self.store.put(kind, key, wanted)

    def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Manifest], Any],
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Manifest:
        """Change an object.

        Args:
            kind: Its kind.
            namespace: Its namespace, ``""`` for none.
            name: Its name.
            change: Returns what it is to be, from what it is.
            subresource: ``"status"`` to change that only.
            dry_run: Check it only.

        Raises:
            Refusal: It cannot be changed so.
        """
        before = self.get(kind, namespace, name)
        wanted: dict[str, Any] = copy.deepcopy(dict(change(before)))
        self._keep_metadata(kind, before, wanted)
        if subresource:
            status = wanted.get("status") or {}
            changed_metadata = {**before["metadata"], **_written_by_status(wanted["metadata"])}
            wanted = {**before, "metadata": changed_metadata, "status": status}
        else:
            if kind.status and "status" in before:
                wanted["status"] = before["status"]
            fill(kind, wanted)
            self._refuse(kind, wanted, checks.changed(kind, before, wanted))
            if kind == SERVICE:
                others = [one for one in self.store.all(SERVICE) if one is not before]
                self.services.allocate(wanted, others)
        if kind.has_generation and wanted.get("spec") != before.get("spec"):
            generation = before["metadata"].get("generation", 1) + 1
            wanted["metadata"]["generation"] = generation
        if dry_run or _same(before, wanted):
            return before if not dry_run else wanted
        return self._settle(kind, (namespace, name), wanted)

    def write(
        self, kind: Kind, namespace: str, name: str, changed: Manifest, *, uid: str | None = None
    ) -> Manifest | None:
        """Keep an object as a controller has made it; ``None`` if it is gone.

        Args:
            kind: Its kind.
            namespace: Its namespace, ``""`` for none.
            name: Its name.
            changed: The object, or what replaces of its top-level fields.
            uid: Only this very object.
        """
        before = self.store.get(kind, (namespace, name))
        if before is None or (uid is not None and before["metadata"]["uid"] != uid):
            return None
        after = {**before, **changed}
        if after == before:
            return before
        return self._settle(kind, (namespace, name), after)

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        options: Mapping[str, Any] | None = None,
        *,
        dry_run: bool = False,
    ) -> tuple[Manifest, bool]:
        """Delete an object, or begin to.

        Args:
            kind: Its kind.
            namespace: Its namespace, ``""`` for none.
            name: Its name.
            options: ``gracePeriodSeconds``, ``preconditions``, ``propagationPolicy``.
            dry_run: Check it only.

        Returns:
            The object, and whether it is gone.

        Raises:
            Refusal: There is none, or not as the preconditions say.
        """
        options = options or {}
        found = self.get(kind, namespace, name)
        _check_preconditions(kind, found, options.get("preconditions") or {})
        if options.get("propagationPolicy") == "Foreground":
            raise not_implemented("foreground deletion")
        metadata = dict(found["metadata"])
        grace = self._grace(kind, found, options.get("gracePeriodSeconds"))
        ends = grace == 0 and not metadata.get("finalizers")
        if kind == NAMESPACE:
            ends = False
        if dry_run:
            return found, ends
        if options.get("propagationPolicy") == "Orphan":
            self._orphan(metadata["uid"])
        if ends and not kind.graceful:
            return self.store.remove(kind, (namespace, name)), True
        since = metadata.get("deletionTimestamp")
        if since is None or grace < metadata.get("deletionGracePeriodSeconds", grace):
            began = self.clock.now() if since is None else _began(metadata)
            until = max(began + grace, self.clock.now())
            metadata["deletionTimestamp"] = self.clock.stamp(until)
            metadata["deletionGracePeriodSeconds"] = grace
            if "generation" in metadata:
                metadata["generation"] += 1
            changed = {**found, "metadata": metadata}
            if kind == NAMESPACE:
                changed["status"] = {**found["status"], "phase": "Terminating"}
            found = self.store.put(kind, (namespace, name), changed)
        if ends:  # a watch sees that it goes, though it has no time (registry/generic, store.go)
            return self.store.remove(kind, (namespace, name)), True
        return found, False

    def remember_applied(self, uid: str, manager: str, wanted: Manifest) -> Manifest:
        """Keep what a manager applied to an object; return what it did the time before."""
        before = self._applied.get((uid, manager), {})
        self._applied[uid, manager] = wanted
        return before

    def _keep_metadata(self, kind: Kind, before: Manifest, wanted: dict[str, Any]) -> None:
        """Put back what a client may not change; check what it must not have changed."""
        metadata, old = wanted.setdefault("metadata", {}), before["metadata"]
        version = metadata.get("resourceVersion")
        if version and version != old["resourceVersion"]:
            raise conflict(kind, old["name"])
        if metadata.get("uid", old["uid"]) != old["uid"]:
            why = (
                f"Precondition failed: UID in precondition: {metadata['uid']}, "
                f"UID in object meta: {old['uid']}"
            )
            raise conflict(kind, old["name"], why)
        errors = [
            invalid_value(f"metadata.{fixed}", metadata[fixed], "field is immutable")
            for fixed in ("name", "namespace")
            if metadata.get(fixed, old.get(fixed)) != old.get(fixed)
        ]
        self._refuse(kind, before, errors)
        if old.get("deletionTimestamp"):
            added = set(metadata.get("finalizers") or []) - set(old.get("finalizers") or [])
            if added:
                words = "no new finalizers can be added if the object is being deleted"
                error = FieldError(
                    "FieldValueForbidden", "metadata.finalizers", f"Forbidden: {words}"
                )
                self._refuse(kind, before, [error])
        for own in _OWN:
            metadata.pop(own, None)
            if own in old:
                metadata[own] = old[own]
        wanted["apiVersion"], wanted["kind"] = kind.api_version, kind.name
        metadata["name"] = old["name"]
        if "namespace" in old:
            metadata["namespace"] = old["namespace"]

    @staticmethod
    def _refuse(kind: Kind, wanted: Manifest, errors: list[FieldError]) -> None:
        if errors:
            raise invalid(kind, wanted["metadata"].get("name") or "", errors)

    def _settle(self, kind: Kind, key: Key, wanted: Manifest) -> Manifest:
        """Keep an object; or remove it, if it was to go and only a finalizer kept it."""
        written = self.store.put(kind, key, wanted)
        metadata = wanted["metadata"]
        if (
            metadata.get("deletionTimestamp")
            and not metadata.get("finalizers")
            and not metadata.get("deletionGracePeriodSeconds")
            and not (kind == NAMESPACE and wanted["spec"].get("finalizers"))
        ):
            return self.store.remove(kind, key)
        return written

    @staticmethod
    def _grace(kind: Kind, found: Manifest, asked: int | None) -> int:
        """Return how many seconds an object is given; none if nobody runs it."""
        if not kind.graceful:
            return 0
        over = found.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if over or not found["spec"].get("nodeName"):
            return 0
        if asked is None:
            pending = found["metadata"].get("deletionGracePeriodSeconds")
            own = found["spec"].get("terminationGracePeriodSeconds", 30)
            return int(own if pending is None else pending)
        return max(1, asked) if asked < 0 else asked

    def _orphan(self, uid: str) -> None:
        for kind in self.store.kinds():
            for key, shown in [(_key(one), one) for one in self.store.all(kind)]:
                owners = shown["metadata"].get("ownerReferences") or []
                left = [one for one in owners if one["uid"] != uid]
                if len(left) != len(owners):
                    metadata = {**shown["metadata"], "ownerReferences": left}
                    self.store.put(kind, key, {**shown, "metadata": metadata})


def _prepare(kind: Kind, namespace: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Give a body its kind and namespace; return its metadata."""
    if wanted.get("kind", kind.name) != kind.name or (
        wanted.get("apiVersion", kind.api_version) != kind.api_version
    ):
        shown = f"{wanted.get('apiVersion', '')}, Kind={wanted.get('kind', '')}"
        words = f"{shown}) does not match the expected {kind.api_version}, Kind={kind.name}"
        raise bad_request(f"the object provided is unrecognized: ({words}")
    wanted["apiVersion"], wanted["kind"] = kind.api_version, kind.name
    metadata = wanted.get("metadata")
    if not isinstance(metadata, dict):
        metadata = wanted["metadata"] = {}
    if kind.namespaced:
        if metadata.get("namespace", namespace) != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    return metadata


def _generated(base: str) -> str:
    suffix = "".join(CHANCE.choices(_ALPHABET, k=5))
    return base[:_LONGEST_BASE] + suffix


def _check_preconditions(kind: Kind, found: Manifest, wanted: Mapping[str, Any]) -> None:
    metadata = found["metadata"]
    for key, word, past in (
        ("uid", "UID", "deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "modified"),
    ):
        if wanted.get(key) and wanted[key] != metadata[key]:
            why = (
                f"the {word} in the precondition ({wanted[key]}) does not match the {word} in "
                f"record ({metadata[key]}). The object might have been {past}"
            )
            raise conflict(kind, metadata["name"], why, by_kind=True)


def _written_by_status(metadata: Manifest) -> dict[str, Any]:
    """Return what of the metadata a write to the status changes too."""
    return {
        key: metadata[key] for key in ("annotations", "labels", "finalizers") if key in metadata
    }


def _began(metadata: Manifest) -> float:
    return parse(metadata["deletionTimestamp"]) - float(metadata["deletionGracePeriodSeconds"])


def _key(shown: Manifest) -> Key:
    return shown["metadata"].get("namespace", ""), name_of(shown)


def _same(before: Manifest, after: Manifest) -> bool:
    """Return whether a write changes nothing: the real server keeps the version then."""
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)
