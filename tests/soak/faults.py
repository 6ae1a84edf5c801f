"""Makes things go wrong, as the plan says."""

from podfleet.testing import Fault
from tests.soak.plan import Mischief, Trouble
from tests.soak.world import NODES, World

__all__ = ["cause"]

_DARK = (0.3, 1.2)  # seconds
_MUTE = (0.5, 1.5)
_LOST = 1.0
_WRITES = (("POST", "/pods$"), ("PATCH", "/pods/"), ("DELETE", "/pods/"), ("POST", "/leases$"))
_ANY = (*_WRITES, ("POST", "/services$"), ("GET", "/pods/"), ("GET", "watch=true"))


def cause(world: World, trouble: Trouble) -> None:
    """Make it go wrong; returns when it is over."""
    chance = trouble.chance
    match trouble.kind:
        case Mischief.CUT:
            world.cut()
        case Mischief.COMPACT:
            world.compact()
        case Mischief.REFUSE:
            status = (429, 500, 503)[int(chance * 3)]
            headers = {"Retry-After": "1"} if status == 429 else {}
            world.fail([Fault(*one, status=status, headers=headers, times=2) for one in _ANY])
        case Mischief.DROP:
            world.fail([Fault(*one, times=2) for one in _ANY])
        case Mischief.LOSE:
            world.fail([Fault(*one, times=2, lose_reply=True) for one in _WRITES])
        case Mischief.TWICE:
            world.fail([Fault(*one, times=2, duplicate=True) for one in _WRITES])
        case Mischief.DARK:
            world.dark(_between(_DARK, chance))
        case Mischief.RESTART:
            world.dark(_between(_DARK, chance), forget=True)
        case Mischief.MUTE:
            world.mute(_between(_MUTE, chance))
        case Mischief.CRASH:
            world.crash(chance)
        case Mischief.NODE:
            world.lose_node(NODES[int(chance * len(NODES))], _LOST)


def _between(span: tuple[float, float], chance: float) -> float:
    first, last = span
    return first + (last - first) * chance
