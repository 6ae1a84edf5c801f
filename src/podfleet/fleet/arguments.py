"""The arguments of a fleet's methods, checked before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from podfleet.errors import ConfigurationError
from podfleet.fleet.claim import Claim
from podfleet.model import ServerState
from podfleet.model.names import check_annotations, check_labels, check_session

__all__ = ["check_allocate", "check_state"]


def check_allocate(
    session: str | None,
    timeout: float,
    labels: Mapping[str, str] | None,
    annotations: Mapping[str, str] | None,
) -> Claim:
    """Return the claim that these arguments of ``allocate`` ask for, or refuse them."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ConfigurationError("timeout", timeout, "must be a number of seconds above 0")
    return Claim(
        session=None if session is None else check_session(session),
        labels=check_labels("labels", labels or {}),
        annotations=check_annotations("annotations", annotations or {}),
    )


def check_state(state: ServerState | str | None) -> ServerState | None:
    """Return the state that servers are asked for in; ``None`` for any."""
    if state is None:
        return None
    try:
        return ServerState(state)
    except ValueError:
        known = ", ".join(member.value for member in ServerState)
        raise ConfigurationError("state", state, f"must be one of {known}") from None
