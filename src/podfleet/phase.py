"""`AllocationPhase`: what an ``allocate`` was doing when its time was up."""

from __future__ import annotations

from enum import Enum

__all__ = ["AllocationPhase"]


class AllocationPhase(Enum):
    """The phases of an ``allocate``, in their order; a warm one skips most of them."""

    CREDENTIALS = "credentials"
    """Loading the credentials: a credential plugin, a file."""

    CONNECT = "connect"
    """Connecting to the API server."""

    LIST = "list"
    """Reading the fleet's servers for the first time."""

    QUEUE = "queue"
    """Waiting for a free server, for a free port, or for another call of the same session."""

    CREATE = "create"
    """Creating the Pod and its own objects."""

    SCHEDULE = "schedule"
    """The Pod has no node yet."""

    PULL = "pull"
    """An image is pulled, or cannot be."""

    START = "start"
    """The containers are being started."""

    READY = "ready"
    """The containers run; the Pod is not ready yet."""

    ENDPOINT = "endpoint"
    """The Pod is ready; what clients dial is not known yet."""

    PROBE = "probe"
    """Its endpoint is dialed, or its name resolved, and has not answered yet."""

    CLAIM = "claim"
    """Writing the claim, or registering the session."""
