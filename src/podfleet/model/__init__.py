"""Values: what a fleet is made of and what it hands out. No I/O."""

from podfleet.diagnosis import Diagnosis, Verdict
from podfleet.model.endpoint import Endpoint
from podfleet.model.event import EventKind, FleetEvent
from podfleet.model.finding import Finding
from podfleet.model.manifest import Manifest
from podfleet.model.port import Port, Protocol
from podfleet.model.server import GameServer, ServerState
from podfleet.model.status import FleetStatus
from podfleet.model.template import GameServerTemplate

__all__ = [
    "Diagnosis",
    "Endpoint",
    "EventKind",
    "Finding",
    "FleetEvent",
    "FleetStatus",
    "GameServer",
    "GameServerTemplate",
    "Manifest",
    "Port",
    "Protocol",
    "ServerState",
    "Verdict",
]
