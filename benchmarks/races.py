"""Replicas that claim at the same time, simulated: who loses a race, and how many nodes are begun.

    python -m benchmarks.races

No cluster, no clock: some seconds. Replicas start at once on a fleet of free servers, with eight
calls in flight each; what one has claimed another sees up to a tenth of a second later.
"""

import heapq
import random
import statistics
from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import define, field, frozen

from podfleet.fleet.pool.choice import Choice
from podfleet.fleet.pool.packing import Pool

__all__ = ["HEAD", "REPLICAS", "Outcome", "play", "row"]

REPLICAS: Final = (2, 4, 8)
HEAD: Final = """\
| replicas | races lost, of 1,600 | nodes of the first 400 servers |
|---|---|---|"""

_SERVERS = 2000
_NODES = 50
_CLAIMS = 1600
_FIRST = 400
_IN_FLIGHT = 8
_TIMES = 6  # games, whose means are told
_REQUEST = (0.005, 0.02)  # seconds until the API server decides, and until its answer is here
_LATE = (0.0, 0.1)  # seconds until another replica's watch shows it


@frozen
class Outcome:
    """What came of a game.

    Args:
        lost: Claims that another replica was faster with.
        nodes: Nodes on which the first servers were claimed.
    """

    lost: int
    nodes: int


@define
class _Game:
    """Replicas over one truth."""

    chance: random.Random
    now: float = 0.0
    node_of: dict[str, str] = field(factory=dict)
    claimed: dict[str, str] = field(factory=dict)
    lost: int = 0
    _coming: list[tuple[float, int, Callable[[], None]]] = field(factory=list)
    _count: int = 0

    def later(self, between: tuple[float, float], what: Callable[[], None]) -> None:
        """Have something happen in some seconds."""
        self._count += 1
        heapq.heappush(self._coming, (self.now + self.chance.uniform(*between), self._count, what))

    def run(self) -> None:
        """Let it happen until there are enough claims."""
        while len(self.claimed) < _CLAIMS:
            self.now, _, what = heapq.heappop(self._coming)
            what()


class _Replica:
    def __init__(self, game: _Game, name: str) -> None:
        self.name = name
        self.others: list[_Replica] = []
        self._game = game
        self._choice = Choice(name, game.chance, lambda: game.now)
        self._pool = Pool("packed", self._choice, game.chance)
        for server, node in game.node_of.items():
            self._pool.put(server, node)

    def begin(self) -> None:
        server = self._pool.best()
        assert server is not None, "there are more servers than claims"
        self._pool.remove(server)
        self._game.later(_REQUEST, partial(self._decide, server))

    def _decide(self, server: str) -> None:
        """Be the API server: whoever comes first has it."""
        if server in self._game.claimed:
            self._game.lost += 1
            self._game.later(_REQUEST, self._lose)
            return
        self._game.claimed[server] = self.name
        for other in self.others:
            self._game.later(_LATE, partial(other.see, server, self.name))
        self._game.later(_REQUEST, partial(self._win, server))

    def _win(self, server: str) -> None:
        self._choice.won()
        self._pool.allocate(self._game.node_of[server], 1)
        self.begin()

    def _lose(self) -> None:
        self._choice.lost()
        self.begin()

    def see(self, server: str, replica: str) -> None:
        """Learn from the watch what another has claimed."""
        self._pool.remove(server)
        self._pool.allocate(self._game.node_of[server], 1)
        self._choice.met(replica)


def play(replicas: int, seed: int) -> Outcome:
    """Return what comes of one game."""
    game = _Game(random.Random(seed))
    for number in range(_SERVERS):
        game.node_of[f"arena-{game.chance.getrandbits(50):x}"] = f"node-{number % _NODES}"
    players = [_Replica(game, f"{game.chance.getrandbits(32):08x}") for _ in range(replicas)]
    for one in players:
        one.others = [other for other in players if other is not one]
        for _ in range(_IN_FLIGHT):
            game.later(_REQUEST, one.begin)
    game.run()
    first = list(game.claimed)[:_FIRST]
    return Outcome(game.lost, len({game.node_of[server] for server in first}))


def row(replicas: int) -> str:
    """Return a row of the table."""
    games = [play(replicas, seed) for seed in range(_TIMES)]
    lost = statistics.mean(game.lost for game in games)
    nodes = statistics.mean(game.nodes for game in games)
    return f"| {replicas} | {lost:.0f} | {nodes:.0f} |"


if __name__ == "__main__":
    print(HEAD)
    for count in REPLICAS:
        print(row(count))
