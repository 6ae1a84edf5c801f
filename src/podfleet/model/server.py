"""`GameServer`: a server as the cluster shows it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

from podfleet.errors import ConfigurationError
from podfleet.model import manifest, names
from podfleet.model.container import has_ended, restarts_of
from podfleet.model.doubt import unreachable_since
from podfleet.model.endpoint import Endpoint
from podfleet.model.manifest import Manifest
from podfleet.model.recycling import came_back
from podfleet.model.slots import capacity_of, sessions_of

__all__ = [
    "ClaimState",
    "GameServer",
    "ServerState",
    "claim_state",
    "server_from_pod",
    "server_state",
    "values_from_pod",
]


class ClaimState(Enum):
    """The value of the label ``podfleet.dev/state``: who has a server."""

    UNCLAIMED = "unclaimed"
    ALLOCATED = "allocated"
    RESERVED = "reserved"
    """Held for a moment, for no session yet."""

    RECYCLING = "recycling"
    """Its match is over; it can be claimed as soon as it says that it is ready again."""

    RETIRING = "retiring"
    """About to go with the scaling down of a StatefulSet: not to be claimed."""


_CLAIM_STATES = {state.value: state for state in ClaimState}


class ServerState(Enum):
    """Where a server is in its life."""

    STARTING = "starting"
    """Created, or recycled; not ready yet."""

    READY = "ready"
    """Ready, and nobody's."""

    RESERVED = "reserved"
    """Held by `Fleet.reserve`."""

    ALLOCATED = "allocated"
    """Claimed: a match runs there."""

    ENDED = "ended"
    """Its process ended, well or not, and is not started again; the Pod is still there, and
    other containers of it may run on."""

    STOPPING = "stopping"
    """Being deleted, or about to be."""


def _frozen_mapping(value: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(value))


@frozen(kw_only=True)
class GameServer:
    """One game server, as the cluster showed it at one moment.

    Attributes:
        name: The Pod's name, unique in its namespace while it lives.
        namespace: The Pod's namespace.
        uid: The Pod's UID, unique for ever.
        state: Where it is in its life.
        node: The node it runs on; ``None`` until it is scheduled.
        session: The session it was allocated for, or ``None``.
        endpoints: What clients dial, one for each port of the template, in that order; empty
            until they are known.
        created: When the Pod was created.
        allocated: When it was claimed, or ``None``.
        labels: The Pod's labels.
        annotations: The Pod's annotations.
        restarts: How often the kubelet has started its container again (``restartPolicy``).
        unreachable_since: Since when its node does not report to the cluster, and it is in doubt:
            its process may be gone, or run on unseen with its players. ``None`` if it is not.
    """

    name: str
    namespace: str
    uid: str
    state: ServerState
    node: str | None
    session: str | None
    endpoints: tuple[Endpoint, ...]
    created: datetime
    allocated: datetime | None
    labels: Mapping[str, str] = field(converter=_frozen_mapping, repr=False, hash=False)
    annotations: Mapping[str, str] = field(converter=_frozen_mapping, repr=False, hash=False)
    restarts: int = 0
    unreachable_since: datetime | None = None

    @property
    def slots(self) -> int:
        """How many slots it has for sessions that share it; 1 if none do."""
        return capacity_of(self._shown)

    @property
    def sessions(self) -> Mapping[str, int]:
        """Its sessions, and how many slots each has."""
        return sessions_of(self._shown)

    @property
    def _shown(self) -> Manifest:
        return {"metadata": {"annotations": self.annotations}}

    @property
    def metadata(self) -> Mapping[str, str]:
        """What ``allocate`` was given for the server to know, beside its session."""
        return {
            key.removeprefix(names.METADATA): value
            for key, value in self.annotations.items()
            if key.startswith(names.METADATA)
        }

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the template's first port.

        Raises:
            ConfigurationError: There is none: the server is not ready, or its template has no
                ports.
        """
        if not self.endpoints:
            raise ConfigurationError(
                "GameServer.endpoint",
                self.name,
                f"the server is {self.state.value} and has no endpoint "
                "(not ready yet, or its template has no ports)",
            )
        return self.endpoints[0]

    def endpoint_for(self, port: str) -> Endpoint:
        """Return the endpoint of the template's port of that name.

        Raises:
            ConfigurationError: No endpoint has that name.
        """
        for endpoint in self.endpoints:
            if endpoint.name == port:
                return endpoint
        known = ", ".join(endpoint.name for endpoint in self.endpoints) or "none"
        raise ConfigurationError(
            "GameServer.endpoint_for.port", port, f"{self.name} has these endpoints: {known}"
        )


def claim_state(pod: Manifest) -> ClaimState | None:
    """Return whether the Pod is claimed; ``None`` if its label is not podfleet's."""
    return _CLAIM_STATES.get(manifest.labels_of(pod).get(names.STATE, ""))


def server_from_pod(
    pod: Manifest,
    endpoints: tuple[Endpoint, ...],
    *,
    ready: bool,
    session: str | None = None,
) -> GameServer:
    """Return what a Pod says about its server: see `values_from_pod`."""
    return GameServer(**values_from_pod(pod, endpoints, ready=ready, session=session))


def values_from_pod(
    pod: Manifest,
    endpoints: tuple[Endpoint, ...],
    *,
    ready: bool,
    session: str | None = None,
) -> dict[str, Any]:
    """Return what a Pod says about its server: the fields of a `GameServer`.

    Args:
        pod: The Pod, as the API server shows it.
        endpoints: What the fleet's strategy read from it.
        ready: Whether the Pod is ready: its own conditions say so, never a label.
        session: Of a shared server: which of its sessions is meant.
    """
    notes = manifest.annotations_of(pod)
    created = manifest.parse_time(pod["metadata"]["creationTimestamp"])
    assert created is not None, "the API server sets creationTimestamp on every object"
    return {
        "name": manifest.name_of(pod),
        "namespace": manifest.namespace_of(pod),
        "uid": manifest.uid_of(pod),
        "state": server_state(pod, ready=ready),
        "node": pod["spec"].get("nodeName"),
        "session": session or notes.get(names.SESSION),
        "endpoints": endpoints,
        "created": created,
        "allocated": manifest.parse_time(notes.get(names.ALLOCATED_AT)),
        "labels": manifest.labels_of(pod),
        "annotations": notes,
        "restarts": restarts_of(pod),
        "unreachable_since": unreachable_since(pod),
    }


def server_state(pod: Manifest, *, ready: bool) -> ServerState:
    """Return where a Pod's server is in its life.

    Args:
        pod: The Pod.
        ready: Whether it is ready.
    """
    if pod["metadata"].get("deletionTimestamp"):
        return ServerState.STOPPING
    if has_ended(pod):
        return ServerState.ENDED
    match claim_state(pod):
        case ClaimState.ALLOCATED:
            return ServerState.ALLOCATED
        case ClaimState.RETIRING:
            return ServerState.STOPPING
        case ClaimState.RESERVED:
            return ServerState.RESERVED
        case ClaimState.RECYCLING if not came_back(pod):
            return ServerState.STARTING
    return ServerState.READY if ready else ServerState.STARTING
