"""What speaks about a Pod that is not ready: its events, and the log to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from podfleet.model import Manifest
from podfleet.model.container import container_status
from podfleet.waiters.lenient import mapping, mappings, number, text

__all__ = ["about", "by_age", "crashed_container", "happened_at", "warnings"]

_MOST_WARNINGS = 10


def warnings(events: Sequence[Manifest]) -> tuple[str, ...]:
    """Return the Warning events in words, oldest first, the latest ten at most.

    Example:
        >>> warnings([
        ...     {"type": "Normal", "reason": "Pulled", "message": "Container image is present"},
        ...     {"type": "Warning", "reason": "FailedMount", "message": "no volume", "count": 3},
        ... ])
        ('FailedMount: no volume (x3)',)
    """
    counts: dict[str, int] = {}
    for event in by_age(events):
        if text(event, "type") != "Warning":
            continue
        line = f"{text(event, 'reason')}: {_message(event)}"
        # Taken out and put back: a repeated warning stands where it was seen last.
        counts[line] = counts.pop(line, 0) + _count(event)
    lines = [line if count == 1 else f"{line} (x{count})" for line, count in counts.items()]
    return tuple(lines[-_MOST_WARNINGS:])


def crashed_container(pod: Manifest) -> tuple[str, bool] | None:
    """Return whose log tells why the Pod is not ready: (container, whether the previous run's).

    A crashed container comes before one that runs but is not ready, and the game server's before
    the others; ``None`` if none has run. A container that was restarted tells why in the log of
    its previous run.
    """
    unready: tuple[str, bool] | None = None
    for kind, status in _server_first(pod):
        name = text(status, "name")
        ended = mapping(status, "state", "terminated")
        if ended:
            if kind == "initContainerStatuses" and number(ended, "exitCode") == 0:
                continue
            return name, False
        if status.get("ready") is True:
            continue
        if mapping(status, "lastState", "terminated"):
            return name, True
        if unready is None and "running" in mapping(status, "state"):
            unready = name, False
    return unready


def _server_first(pod: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Yield what the kubelet shows of each container, of the game server's first."""
    own = container_status(pod)
    if own:
        yield "containerStatuses", own
    for kind in ("initContainerStatuses", "containerStatuses"):
        for status in mappings(pod, "status", kind):
            if status is not own:
                yield kind, status


def by_age(events: Iterable[Manifest]) -> list[Manifest]:
    """Return the events, oldest first; those of one second stay in their order."""
    return sorted((event for event in events if mapping(event)), key=happened_at)


def happened_at(event: Manifest) -> str:
    """Return when an event was seen last, RFC 3339; empty if it does not say.

    core/v1 writes ``lastTimestamp``; events.k8s.io/v1, as the scheduler does, ``eventTime``
    and ``series``.
    """
    return (
        text(event, "series", "lastObservedTime")
        or text(event, "lastTimestamp")
        or text(event, "eventTime")
        or text(event, "metadata", "creationTimestamp")
    )


def about(events: Iterable[Manifest], container: str) -> list[Manifest]:
    """Return the events about one container, oldest first.

    The kubelet names it in ``involvedObject.fieldPath``, ``spec.containers{game}``:
    pkg/kubelet/container/ref.go.
    """
    suffix = f"{{{container}}}"
    return [
        event
        for event in by_age(events)
        if (
            text(event, "involvedObject", "fieldPath") or text(event, "regarding", "fieldPath")
        ).endswith(suffix)
    ]


def _message(event: Manifest) -> str:
    return (text(event, "message") or text(event, "note")).strip()


def _count(event: Manifest) -> int:
    count = number(event, "series", "count") or number(event, "count") or 1
    return max(count, 1)
