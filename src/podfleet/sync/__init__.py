"""The faces for code that does not await: thin, over one background thread."""

from podfleet.sync.fleet import Fleet, FleetServer
from podfleet.sync.group import FleetGroup
from podfleet.sync.waiters import wait_gone, wait_reachable, wait_ready

__all__ = ["Fleet", "FleetGroup", "FleetServer", "wait_gone", "wait_reachable", "wait_ready"]
