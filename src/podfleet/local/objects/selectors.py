"""Label and field selectors, as a query has them, and as a Service or a StatefulSet has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from podfleet.local.objects.kinds import Kind
from podfleet.local.objects.statuses import bad_request
from podfleet.model import Manifest

__all__ = ["Match", "by_fields", "by_labels", "matches_labels"]

Match = Callable[[Manifest], bool]

_KEY = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"
_SET = re.compile(rf"\s*(?P<key>{_KEY})\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)\s*")
_EQUAL = re.compile(rf"\s*(?P<key>{_KEY})\s*(?P<operator>==|=|!=)\s*(?P<value>[-A-Za-z0-9_.]*)\s*")
_THERE = re.compile(rf"\s*(?P<operator>!?)\s*(?P<key>{_KEY})\s*")

# What the real server can select by, of what is served here (pkg/registry: each strategy.go,
# and pkg/apis/core/v1/conversion.go).
_FIELDS = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
}


def by_labels(selector: str) -> Match:
    """Return whether an object has the labels that a query asks for.

    Raises:
        Refusal: It is no selector.

    Example:
        >>> by_labels("app in (a, b),!old")({"metadata": {"labels": {"app": "b"}}})
        True
    """
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    rest = selector
    while rest.strip():
        found = _SET.match(rest) or _EQUAL.match(rest) or _THERE.match(rest)
        after = rest[found.end() :] if found else ""
        if found is None or (after and not after.startswith(",")):
            raise bad_request(f"unable to parse requirement: found {rest.strip()!r}")
        tests.append(_requirement(**found.groupdict()))
        rest = after[1:]

    def match(shown: Manifest) -> bool:
        labels = shown["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return match


def _requirement(
    key: str, operator: str, value: str = "", values: str = ""
) -> Callable[[Mapping[str, str]], bool]:
    listed = {one.strip() for one in values.split(",")}
    return {
        "": lambda labels: key in labels,
        "!": lambda labels: key not in labels,
        "=": lambda labels: labels.get(key) == value,
        "==": lambda labels: labels.get(key) == value,
        "!=": lambda labels: labels.get(key) != value,
        "in": lambda labels: labels.get(key) in listed,
        "notin": lambda labels: labels.get(key) not in listed,
    }[operator]


def by_fields(kind: Kind, selector: str) -> Match:
    """Return whether an object has the fields that a query asks for.

    Raises:
        Refusal: The kind cannot be selected by such a field.
    """
    tests: list[tuple[str, bool, str]] = []
    for part in filter(None, selector.split(",")):
        field, operator, value = (
            re.split(r"(==|!=|=)", part, maxsplit=1) if "=" in part else ("",) * 3
        )
        known = ("metadata.name", "metadata.namespace", *_FIELDS.get(kind.plural, ()))
        if not operator:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if field not in known:
            raise bad_request(f"field label not supported: {field}")
        tests.append((field, operator != "!=", value))

    def match(shown: Manifest) -> bool:
        return all((_field(shown, field) == value) is wanted for field, wanted, value in tests)

    return match


def _field(shown: Manifest, path: str) -> str:
    value: Any = shown
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or (
        value is None and path.endswith(("hostNetwork", "unschedulable"))
    ):
        return str(bool(value)).lower()
    return "" if value is None else str(value)


def matches_labels(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Return whether labels are those of a StatefulSet's selector, or of a Service's plain one."""
    if not selector:
        return False
    plain = selector
    if selector.keys() <= {"matchLabels", "matchExpressions"}:
        plain = selector.get("matchLabels") or {}
        for one in selector.get("matchExpressions") or []:
            there, listed = (
                one["key"] in labels,
                labels.get(one["key"]) in (one.get("values") or ()),
            )
            answers = {
                "In": listed,
                "NotIn": not listed,
                "Exists": there,
                "DoesNotExist": not there,
            }
            if not answers[one["operator"]]:
                return False
    return all(labels.get(key) == value for key, value in plain.items())
