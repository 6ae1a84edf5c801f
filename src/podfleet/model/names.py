"""The names podfleet writes into the cluster, and what Kubernetes allows in names.

Sources: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and
https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import ItemsView, Mapping
from typing import Final

from podfleet.errors import ConfigurationError
from podfleet.model.plain import check_text

__all__ = [
    "ALLOCATED_AT",
    "CLAIM",
    "CONTAINER",
    "DISRUPTION",
    "DO_NOT_DISRUPT",
    "DRAINED",
    "FLEET",
    "GIVEN",
    "MAX_FLEET_NAME",
    "METADATA",
    "OPERATION",
    "PATIENCE",
    "PAUSED",
    "PORTS",
    "PREFIX",
    "RECYCLED",
    "RESERVED_UNTIL",
    "REVISION",
    "REVISIONS",
    "SAFE_TO_EVICT",
    "SERVER",
    "SESSION",
    "SESSIONS",
    "SLOTS",
    "STATE",
    "TURN",
    "check_annotation_key",
    "check_annotations",
    "check_container_name",
    "check_dns_label",
    "check_domain",
    "check_fleet_name",
    "check_label",
    "check_labels",
    "check_metadata",
    "check_namespace",
    "check_node_labels",
    "check_reference",
    "check_server_name",
    "check_session",
    "check_slots",
    "check_subdomain",
    "is_server_name",
    "is_subdomain",
    "new_server_name",
    "registration_name",
    "session_label",
]

PREFIX: Final = "podfleet.dev/"

FLEET: Final = PREFIX + "fleet"
"""Label: the fleet that a Pod belongs to; what every watch selects by."""

STATE: Final = PREFIX + "state"
"""Label: whether a Pod is claimed (`ClaimState`). Readiness is never copied into it."""

SESSION: Final = PREFIX + "session"
"""Label and annotation: the session, for selectors and in full."""

SLOTS: Final = PREFIX + "slots"
"""Annotation: how many slots a server has that several sessions may share."""

SESSIONS: Final = PREFIX + "sessions"
"""Annotation: who has how many of them, as JSON (`model.slots`)."""

REVISION: Final = PREFIX + "revision"
"""Label: which template a Pod was made of (`FleetSpec.revision`)."""

REVISIONS: Final = PREFIX + "revisions"
"""Annotation of a fleet's Lease: the templates that the fleet has had, the present one last."""

PAUSED: Final = PREFIX + "rollout-paused"
"""Annotation of a fleet's Lease: ``true`` while the roll-out is held."""

DRAINED: Final = PREFIX + "drained-since"
"""Annotation of a fleet's Lease: since when it is drained (RFC 3339); empty if it is not."""

SERVER: Final = PREFIX + "server"
"""Label: the Pod's own name, for the selector of a Service that is this Pod's alone."""

PORTS: Final = PREFIX + "ports"
"""Annotation: the numbers of the pool that a Pod's Service or route uses: ``31004,31005``."""

CONTAINER: Final = PREFIX + "container"
"""Annotation: which of a Pod's containers is the game server (`model.container`)."""

CLAIM: Final = PREFIX + "claim"
"""Annotation: the id of the claim that holds a Pod: tells a lost reply from a lost race."""

TURN: Final = PREFIX + "turn"
"""Annotation: how often the claim state has changed. Each change tests it and counts it up, so
that a write which arrives late, after others, is refused."""

ALLOCATED_AT: Final = PREFIX + "allocated-at"
"""Annotation: when the Pod was claimed (RFC 3339)."""

METADATA: Final = "metadata." + PREFIX
"""Annotations under this prefix: the metadata of an allocation, gone when that is over."""

RESERVED_UNTIL: Final = PREFIX + "reserved-until"
"""Annotation: when a reservation runs out (RFC 3339)."""

GIVEN: Final = PREFIX + "given"
"""Annotation: which labels and annotations an allocation brought, to be gone when that is over."""

RECYCLED: Final = PREFIX + "recycled"
"""Annotation: what the Pod's status said when it was recycled (`model.recycling`)."""

PATIENCE: Final = PREFIX + "patience"
"""Annotation: for how many seconds the starter of a Pod was going to wait for it."""

DISRUPTION: Final = PREFIX + "disruption"
"""Annotation: ``follows-state`` on a Pod whose next two annotations podfleet keeps."""

SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
"""Annotation: whether the cluster autoscaler may take the Pod's node. Without it a Pod that no
controller owns keeps its node for ever (autoscaler's FAQ, "What types of Pods can prevent ...")."""

DO_NOT_DISRUPT: Final = "karpenter.sh/do-not-disrupt"
"""Annotation: ``true`` keeps Karpenter from taking the Pod's node."""

OPERATION: Final = PREFIX + "operation"
"""Annotation: the id of the create that made the object: tells our own from a namesake."""

MAX_FLEET_NAME: Final = 52
"""A server is named ``<fleet>-<10 characters>``, and a hostname ends at 63."""

_SUFFIX_LENGTH: Final = 10
# No vowels, so that no words come out; no digits that read like letters.
_SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"

_DNS_LABEL: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KEY_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_DOMAIN: Final = 253 - 64
_MAX_SESSION: Final = 1024
_MAX_SLOTS: Final = 1000  # each may be a session of its own, and all are in one annotation
_MAX_ANNOTATIONS: Final = 256 * 1024


def new_server_name(fleet: str) -> str:
    """Return a fresh name for a server: ``arena-7xk2mbq9wd``.

    The client picks it, not ``generateName``: a create whose reply was lost can then be
    looked up and repeated without making a second Pod.
    """
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))
    return f"{fleet}-{suffix}"


def is_server_name(fleet: str, name: str) -> bool:
    """Return whether `new_server_name` could have made this name for that fleet.

    Example:
        >>> is_server_name("arena", "arena-7xk2mbq9wd")
        True
        >>> is_server_name("arena", "arena-east-7xk2mbq9wd")
        False
    """
    suffix = name.removeprefix(fleet + "-")
    return name != suffix and len(suffix) == _SUFFIX_LENGTH and set(suffix) <= set(_SUFFIX_ALPHABET)


def session_label(session: str) -> str:
    """Return the label value of a session: itself where Kubernetes allows it, else a hash.

    Example:
        >>> session_label("match-42")
        'match-42'
        >>> session_label("Zoë & Max")
        'sha256-9bc4f8a70f593ae26ff76ba4f93a35fc4da2d763'
    """
    # A session spelled like a hash is hashed too, so that no two sessions share a label.
    if _LABEL_VALUE.fullmatch(session) and not session.startswith("sha256-"):
        return session
    return "sha256-" + hashlib.sha256(session.encode()).hexdigest()[:40]


def registration_name(fleet: str, session: str) -> str:
    """Return the name of a session's registration: one, whoever makes it.

    Example:
        >>> registration_name("arena", "match-42")
        'arena-5790af90b2e9849e323b1a82fa5ca910c01b9186'
    """
    return f"{fleet}-{hashlib.sha256(session.encode()).hexdigest()[:40]}"


def check_session(session: str, field: str = "session") -> str:
    """Return the session if podfleet can carry it, else raise `ConfigurationError`."""
    if not isinstance(session, str) or not session or len(session) > _MAX_SESSION:
        raise ConfigurationError(
            field, session, f"must be a string of 1 to {_MAX_SESSION} characters"
        )
    return check_text(field, session)


def check_slots(field: str, value: int) -> int:
    """Return a number of slots if it is one."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_SLOTS:
        raise ConfigurationError(field, value, f"must be a whole number from 1 to {_MAX_SLOTS}")
    return value


def check_dns_label(field: str, value: object, limit: int = 63) -> str:
    """Return the name if it is a DNS label that starts with a letter (RFC 1035)."""
    if not isinstance(value, str) or len(value) > limit or not _DNS_LABEL.fullmatch(value):
        raise ConfigurationError(
            field,
            value,
            f"must be 1 to {limit} lower-case letters, digits or '-', "
            "start with a letter and end with a letter or digit",
        )
    return value


def check_namespace(field: str, value: object) -> str:
    """Return the name if a namespace can have it: a DNS label (RFC 1123)."""
    if not isinstance(value, str) or not _NAMESPACE.fullmatch(value):
        raise ConfigurationError(
            field,
            value,
            "must be 1 to 63 lower-case letters, digits or '-', and start and end with a letter "
            "or digit",
        )
    return value


def check_container_name(field: str, value: object) -> str:
    """Return the name if a container can have it: a DNS label (RFC 1123), as a namespace."""
    return check_namespace(field, value)


def is_subdomain(value: str) -> bool:
    """Return whether most objects can have this name."""
    return len(value) <= 253 and _SUBDOMAIN.fullmatch(value) is not None


def check_subdomain(field: str, value: object) -> str:
    """Return the name if most objects can have it: a DNS subdomain (RFC 1123), dots included."""
    if not isinstance(value, str) or not is_subdomain(value):
        raise ConfigurationError(
            field,
            value,
            "must be 1 to 253 lower-case letters, digits, '-' or '.', and each part between dots "
            "must start and end with a letter or digit",
        )
    return value


def check_server_name(field: str, value: object) -> str:
    """Return the name if a Pod can have it.

    Example:
        >>> check_server_name("name", "arena-7xk2mbq9wd")
        'arena-7xk2mbq9wd'
    """
    return check_subdomain(field, value)


def check_reference(field: str, value: object) -> tuple[str, str]:
    """Return the two parts of ``namespace/name``."""
    namespace, slash, name = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash:
        raise ConfigurationError(field, value, "must be 'namespace/name'")
    return check_namespace(field, namespace), check_subdomain(field, name)


def check_domain(field: str, value: object, like: str) -> str:
    """Return the DNS name if a host's name can be put in front of it.

    Each part has at most 63 characters, and all together leave room for such a part.
    """
    if (
        not isinstance(value, str)
        or len(value) > _MAX_DOMAIN
        or not _SUBDOMAIN.fullmatch(value)
        or max(map(len, value.split("."))) > 63
    ):
        raise ConfigurationError(field, value, f"must be a DNS name: {like!r}")
    return value


def check_fleet_name(field: str, value: object) -> str:
    """Return the fleet's name if a server's name can be made of it."""
    return check_dns_label(field, value, MAX_FLEET_NAME)


def check_labels(field: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels as a dict if Kubernetes takes them and none is podfleet's own."""
    for key, value in _items(field, labels):
        check_label(field, key, value)
        _check_is_free(field, key)
    return dict(labels)


def check_node_labels(field: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels as a dict if a node can have them."""
    for key, value in _items(field, labels):
        check_label(field, key, value)
    return dict(labels)


def check_label(field: str, key: object, value: object) -> None:
    """Refuse a label that Kubernetes does not take."""
    _check_key(field, key)
    if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
        raise ConfigurationError(
            f"{field}[{key!r}]",
            value,
            "must be a string of at most 63 letters, digits, '-', '_' or '.', "
            "with a letter or digit at both ends",
        )


def check_annotation_key(field: str, key: object) -> str:
    """Return the key if an annotation can have it."""
    _check_key(field, key)
    return str(key)


def check_annotations(field: str, annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations as a dict if Kubernetes takes them and none is podfleet's own."""
    size = 0
    for key, value in _items(field, annotations):
        # ValidateAnnotations takes capital letters in the part before the '/' too.
        _check_key(field, key.lower() if isinstance(key, str) else key)
        _check_is_free(field, key)
        check_text(f"{field}[{key!r}]", value)
        size += len(key.encode()) + len(value.encode())
    if size > _MAX_ANNOTATIONS:
        raise ConfigurationError(
            field, f"{size} bytes", f"must be at most {_MAX_ANNOTATIONS} bytes in total"
        )
    return dict(annotations)


def check_metadata(field: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata as a dict if annotations can carry it."""
    for key, _ in _items(field, metadata):
        if not isinstance(key, str) or not _KEY_NAME.fullmatch(key):
            raise ConfigurationError(
                field,
                key,
                "a key must be 1 to 63 letters, digits, '-', '_' or '.', "
                "with a letter or digit at both ends",
            )
    return check_annotations(field, metadata)


def _items(field: str, value: Mapping[str, str]) -> ItemsView[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(field, value, "must be a dict of strings: {'map': 'desert'}")
    return value.items()


def _check_key(field: str, key: object) -> None:
    if not isinstance(key, str):
        raise ConfigurationError(field, key, "keys must be strings")
    prefix, slash, key_name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix)):
        raise ConfigurationError(field, key, "the part before '/' must be a DNS subdomain")
    if not _KEY_NAME.fullmatch(key_name):
        raise ConfigurationError(
            field,
            key,
            "a key must be 1 to 63 letters, digits, '-', '_' or '.', "
            "with a letter or digit at both ends",
        )


def _check_is_free(field: str, key: str) -> None:
    if key.startswith((PREFIX, METADATA)):
        raise ConfigurationError(field, key, f"keys under {PREFIX!r} are podfleet's own")
