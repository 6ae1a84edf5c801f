"""Which probe of a container failed, and where it asks."""

from __future__ import annotations

from collections.abc import Sequence

from podfleet.model import Manifest
from podfleet.waiters.evidence import happened_at
from podfleet.waiters.lenient import mapping, text

__all__ = ["failing_probe", "killed_by_probe", "where"]


def failing_probe(events: Sequence[Manifest]) -> tuple[str, str] | None:
    """Return the probe that failed last and its message: pkg/kubelet/prober/prober.go."""
    for event in reversed(events):
        said = text(event, "message")
        kind, found, cause = said.partition(" probe ")
        if text(event, "reason") == "Unhealthy" and found:
            # "Readiness probe failed: HTTP probe failed with statuscode: 503"
            return kind.lower(), (cause.partition(": ")[2] or cause).strip()
    return None


def killed_by_probe(ended: Manifest, events: Sequence[Manifest]) -> str:
    """Return "liveness" or "startup" if that is what ended this run.

    The kubelet says so in a Killing event alone, "Container game failed liveness probe, will be
    restarted"; of one that is not restarted only "Stopping container game", after the probe's
    own event: pkg/kubelet/kuberuntime/kuberuntime_manager.go.
    """
    started, finished = text(ended, "startedAt"), text(ended, "finishedAt")
    run = [event for event in events if started <= happened_at(event) <= finished]
    killing = [text(event, "message") for event in run if text(event, "reason") == "Killing"]
    stopped = any(said.startswith("Stopping container") for said in killing)
    for probe in ("startup", "liveness"):
        failed = any(
            text(event, "message").startswith(f"{probe.capitalize()} probe failed") for event in run
        )
        if any(f"failed {probe} probe" in said for said in killing) or (stopped and failed):
            return probe
    return ""


def where(spec: Manifest, kind: str) -> str:
    """Return where a probe asks: `` (HTTP GET /ready on port 8080)``, or nothing."""
    probe = mapping(spec, f"{kind}Probe")
    for field, words in (("httpGet", "HTTP GET"), ("tcpSocket", "TCP"), ("grpc", "gRPC")):
        asked = mapping(probe, field)
        if asked:
            path = text(asked, "path")
            return f" ({words}{' ' + path if path else ''} on port {asked.get('port')})"
    command = mapping(probe, "exec").get("command")
    if isinstance(command, list):
        return f" ({' '.join(str(word) for word in command)})"
    return ""
