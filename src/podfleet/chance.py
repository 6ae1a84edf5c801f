"""Where randomness comes from: from the operating system, not from the program's own sequence.

A game that seeds `random`, for its matches to be the same again, finds nothing taken from its
sequence; and neither such replicas nor forked ones, which start with one seed, pause in step or
choose the same server.
"""

from random import SystemRandom
from typing import Final

__all__ = ["CHANCE"]

CHANCE: Final = SystemRandom()
