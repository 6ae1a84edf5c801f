"""`Sighting`: a server as the watch showed it; what follows from its Pod is found out once."""

from __future__ import annotations

from functools import cached_property

from attrs import frozen

from podfleet.model import Diagnosis, Manifest, ServerState
from podfleet.model.server import server_state
from podfleet.waiters.diagnosis import diagnose, is_ready

__all__ = ["Sighting"]


@frozen
class Sighting:
    """A server, seen.

    Args:
        name: Its name.
        pod: Its Pod; ``None`` if that is gone.
        flaw: Why it can never be reached, though its Pod may be ready; ``None`` if it can.
    """

    name: str
    pod: Manifest | None
    flaw: Diagnosis | None = None

    @cached_property
    def ready(self) -> bool:
        """Whether it can be played on."""
        return self.pod is not None and self.flaw is None and is_ready(self.pod)

    @cached_property
    def diagnosis(self) -> Diagnosis | None:
        """Why it is not ready; ``None`` if it is, or is gone."""
        if self.pod is None or self.ready:
            return None
        return self.flaw or diagnose(self.pod)

    @cached_property
    def state(self) -> ServerState | None:
        """Where it is in its life; ``None`` if it is gone."""
        return None if self.pod is None else server_state(self.pod, ready=self.ready)
