"""The room in which a match is played: who is in it, and the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random

from attrs import define, field

from arcade import game
from arcade.protocol import Hello, state

__all__ = ["Full", "Room", "Seat", "Send"]

RATE = 30  # updates a second
WATCHED = 3  # who only looks on gets every third
RETURN = 8.0  # seconds for a player to come back, as after a reload

Send = Callable[[str], None]
"""Sends a text to one player; must not block."""


class Full(Exception):
    """There are as many players as can be."""


@define
class Seat:
    """A player's place in the match, kept for a while when the connection breaks.

    Attributes:
        number: The orb's.
        send: How the player is reached; ``None`` while it is away.
        left: When it went away, by the monotonic clock.
    """

    number: int
    send: Send | None = None
    left: float = field(factory=time.monotonic)


class Room:
    """A match, and everybody connected to it."""

    def __init__(self) -> None:
        self.world = game.World()
        self._random = Random()
        self._seats: dict[str, Seat] = {}
        self._watchers: set[Send] = set()
        self._busy = asyncio.Event()
        self._count = 0

    @property
    def empty(self) -> bool:
        """Whether no player has a seat."""
        return not self._seats

    def join(self, hello: Hello, send: Send) -> Seat:
        """Give a player a seat: its former one, if it has been here before.

        Raises:
            Full: There is none.
        """
        seat = self._seats.get(hello.player)
        if seat is None:
            if len(self._seats) >= game.PLAYERS:
                raise Full
            self._count += 1
            seat = self._seats[hello.player] = Seat(self._count)
            joined = (seat.number, hello.name, hello.hue)
            self.world = game.join(self.world, *joined, self._random)
        seat.send = send
        self._busy.set()
        return seat

    def aim(self, seat: Seat, where: tuple[float, float] | None) -> None:
        """Have a player's orb go somewhere."""
        self.world = game.aim(self.world, seat.number, where)

    def leave(self, seat: Seat, send: Send) -> None:
        """Keep a seat for a player whose connection broke, unless it is here by a newer one."""
        if seat.send is send:
            seat.send, seat.left = None, time.monotonic()
            self.aim(seat, None)

    def watch(self, send: Send) -> None:
        """Have somebody look on."""
        self._watchers.add(send)
        self._busy.set()

    def unwatch(self, send: Send) -> None:
        """Have somebody look on no more."""
        self._watchers.discard(send)

    async def run(self) -> None:
        """Play, thirty times a second, while anybody is there; for ever."""
        due, ticks = time.monotonic(), 0
        while True:
            if not self._seats and not self._watchers:
                self._busy.clear()
                await self._busy.wait()
                due = time.monotonic()
            self._clear_seats()
            self.world = game.step(self.world, 1 / RATE, self._random)
            self._tell(watchers=ticks % WATCHED == 0)
            ticks += 1
            due = max(due + 1 / RATE, time.monotonic() - 1)  # after a pause it does not race
            await asyncio.sleep(due - time.monotonic())

    def _clear_seats(self) -> None:
        late = time.monotonic() - RETURN
        for player, seat in list(self._seats.items()):
            if seat.send is None and seat.left < late:
                del self._seats[player]
                self.world = game.leave(self.world, seat.number)

    def _tell(self, *, watchers: bool) -> None:
        text = state(self.world, {one.number for one in self._seats.values() if one.send is None})
        for seat in self._seats.values():
            if seat.send is not None:
                seat.send(text)
        if watchers:
            for send in self._watchers:
                send(text)
