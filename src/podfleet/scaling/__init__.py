"""How many free servers there should be: one interface, one file for each policy. No I/O."""

from podfleet.scaling.buffer import Buffer
from podfleet.scaling.chain import Chain
from podfleet.scaling.convert import Policy, as_policy
from podfleet.scaling.demand import Demand
from podfleet.scaling.load import Load
from podfleet.scaling.policy import ScalingPolicy, wanted
from podfleet.scaling.schedule import Schedule
from podfleet.scaling.window import Window

__all__ = [
    "Buffer",
    "Chain",
    "Demand",
    "Load",
    "Policy",
    "ScalingPolicy",
    "Schedule",
    "Window",
    "as_policy",
    "wanted",
]
