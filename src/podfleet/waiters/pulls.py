"""Why an image cannot be pulled: what registries and container runtimes say, in words."""

from __future__ import annotations

from collections.abc import Sequence

from podfleet.model import Manifest
from podfleet.waiters.lenient import text

__all__ = ["failed_pull", "pull_cause"]

# Their words in lower case, and what they mean.
_PULL_CAUSES = (
    (("no such host", "server misbehaving"), "the node cannot look up the registry's name"),
    (
        ("connection refused", "i/o timeout", "no route to host", "network is unreachable"),
        "the node cannot reach the registry",
    ),
    (("x509", "http response to https"), "the node and the registry disagree on TLS"),
    (("toomanyrequests", "429 too many"), "the registry limits the rate: use imagePullSecrets"),
    (
        ("denied", "unauthorized", "authorization failed", "403 forbidden"),
        "the registry refuses access: check the name and imagePullSecrets",
    ),
    (("no match for platform",), "the image is not built for the node's architecture"),
    (("no space left",), "the node's disk is full"),
    (("not found", "manifest unknown"), "the registry has no such image: check name and tag"),
)


def pull_cause(message: str) -> str:
    """Return why a pull failed and what to do about it.

    Example:
        >>> pull_cause("dial tcp 127.0.0.1:1: connect: connection refused")
        'the node cannot reach the registry'
    """
    said = message.lower()
    for words, cause in _PULL_CAUSES:
        if any(word in said for word in words):
            return cause
    return "check the name, the registry and imagePullSecrets"


def failed_pull(events: Sequence[Manifest]) -> str:
    """Return the message of a container's last pull if it failed, else nothing.

    The words are those of pkg/kubelet/images/image_manager.go.

    Args:
        events: The events about the container, oldest first.
    """
    message = ""
    for event in events:
        said = text(event, "message")
        if text(event, "reason") == "Failed" and said.startswith("Failed to pull image"):
            message = said
        elif text(event, "reason") == "Pulled":
            message = ""
    return message
