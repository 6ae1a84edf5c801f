"""The loop that ties it together: create, expose, wait, claim, release."""

from podfleet.fleet.events.stream import EventStream
from podfleet.fleet.fleet import AsyncFleet
from podfleet.fleet.group import AsyncFleetGroup
from podfleet.fleet.handle import AsyncFleetServer

__all__ = ["AsyncFleet", "AsyncFleetGroup", "AsyncFleetServer", "EventStream"]
