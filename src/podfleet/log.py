"""What a log record is about, as fields beside its words."""

from __future__ import annotations

__all__ = ["about"]


def about(
    *,
    fleet: str | None = None,
    namespace: str | None = None,
    server: str | None = None,
    session: str | None = None,
) -> dict[str, str]:
    """Return a record's ``extra``: its fields, those that are known.

    Args:
        fleet: The fleet's name.
        namespace: The namespace of its Pods.
        server: The server's name.
        session: The session's.

    Example:
        >>> about(fleet="arena", server="arena-x7k2p")
        {'podfleet_fleet': 'arena', 'podfleet_server': 'arena-x7k2p'}
    """
    fields = {
        "podfleet_fleet": fleet,
        "podfleet_namespace": namespace,
        "podfleet_server": server,
        "podfleet_session": session,
    }
    return {name: value for name, value in fields.items() if value is not None}
