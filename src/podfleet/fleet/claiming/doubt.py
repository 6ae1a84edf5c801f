"""A session's server whose node does not report: handed out with a warning, or not at all."""

from __future__ import annotations

import logging

from podfleet.errors import ServerUnreachable
from podfleet.log import about
from podfleet.model import Manifest
from podfleet.model.doubt import unreachable_since
from podfleet.model.manifest import labels_of, name_of, namespace_of
from podfleet.model.names import FLEET
from podfleet.waiters.diagnosis import diagnose

__all__ = ["check_reachable"]

_log = logging.getLogger(__name__)


def check_reachable(pod: Manifest, session: str | None, *, allowed: bool) -> None:
    """Say so if an allocated server is in doubt: see `AsyncFleet.allocate`.

    Only one that the session had before can be: what is claimed now is ready.

    Args:
        pod: The server's Pod.
        session: The session.
        allowed: Whether to say it in the log only.

    Raises:
        ServerUnreachable: It is in doubt, and that is not allowed.
    """
    since = unreachable_since(pod)
    if since is None:
        return
    server, node = name_of(pod), pod["spec"].get("nodeName")
    said = (
        f"{namespace_of(pod)}/{server}, the server of session {session!r}: node {node} has not "
        f"reported since {since:%Y-%m-%d %H:%M:%S} UTC: its process may be gone, or run on unseen"
    )
    if not allowed:
        raise ServerUnreachable(
            f"{said}: wait for the node, or release the server and allocate again, at the risk "
            "that the old process still runs with its players",
            server=server,
            since=since,
            diagnosis=diagnose(pod),
        )
    _log.warning(
        "%s",
        said,
        extra=about(
            fleet=labels_of(pod).get(FLEET),
            namespace=namespace_of(pod),
            server=server,
            session=session,
        ),
    )
