"""`Addresses`: a block of loopback addresses for one cluster, and who has which."""

from __future__ import annotations

import socket
from collections import deque
from ipaddress import IPv4Network

from attrs import define, field

from podfleet.chance import CHANCE
from podfleet.errors import PodfleetError

__all__ = ["Addresses"]

_SHARED = "127.0.0.1"
_OWN_PORTS = range(10000, 30000)  # below those that systems give to clients
_PODS = 2**15 - 512  # addresses for Pods: 127.x.2.0 to 127.x.127.255


@define
class Addresses:
    """The addresses of one cluster.

    On Linux a cluster has a block of its own in 127.0.0.0/8, which no other cluster of this
    machine has. Elsewhere there is one loopback address for all: a Pod's address is then only a
    name, and each of its ports is a port of 127.0.0.1.

    Args:
        block: The second number of the block; 0 where there is none.
    """

    block: int
    _claim: socket.socket | None = None
    _free: deque[int] = field(factory=lambda: deque(range(_PODS)))
    _ports: dict[tuple[str, int], int] = field(factory=dict)

    @classmethod
    def own(cls) -> Addresses:
        """Claim a block, for as long as this process lives.

        Raises:
            PodfleetError: All are in use.
        """
        numbers = list(range(1, 255))
        CHANCE.shuffle(numbers)
        for number in numbers:
            # An abstract socket is known within a network namespace, as its loopback is; and it
            # goes with its process.
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                claim.bind(f"\0podfleet-local-{number}")
            except OSError:
                claim.close()
                continue
            return cls(number, claim)
        raise PodfleetError(
            "no block of loopback addresses is free: 254 embedded clusters run on this machine: "
            "stop some"
        )

    @classmethod
    def shared(cls) -> Addresses:
        """Return those of a system with one loopback address."""
        return cls(0)

    @property
    def api(self) -> str:
        """Where the API server listens."""
        return f"127.{self.block}.0.1" if self.block else _SHARED

    @property
    def gateway(self) -> str:
        """Where the gateway listens."""
        return f"127.{self.block}.0.2" if self.block else _SHARED

    @property
    def services(self) -> IPv4Network:
        """The range of Service addresses."""
        return IPv4Network(f"127.{self.block}.128.0/17")

    def node(self, number: int) -> str:
        """Return the address of a Node."""
        return f"127.{self.block}.1.{number + 1}" if self.block else _SHARED

    def claim(self) -> str:
        """Return an address for a Pod: the one that was longest unused."""
        number = self._free.popleft() + 512
        return f"127.{self.block}.{number // 256}.{number % 256}"

    def release(self, address: str) -> None:
        """Take an address back."""
        _, _, high, low = map(int, address.split("."))
        self._free.append(high * 256 + low - 512)
        for known in [one for one in self._ports if one[0] == address]:
            del self._ports[known]

    def listens(self, address: str) -> str:
        """Return where a Pod's own process is to listen."""
        return address if self.block else _SHARED

    def locate(self, address: str, port: int) -> tuple[str, int]:
        """Return where a port of a Pod is really to be found.

        Args:
            address: The Pod's address.
            port: The container's port.
        """
        if self.block or not address.startswith(f"127.{self.block}.") or address == _SHARED:
            return address, port
        if (address, port) not in self._ports:
            self._ports[address, port] = _free_port()
        return _SHARED, self._ports[address, port]

    def close(self) -> None:
        """Give the block back."""
        if self._claim is not None:
            self._claim.close()


def _free_port() -> int:
    """Return a port that is free for TCP and for UDP, and that no connection is given by chance."""
    while True:
        port = CHANCE.choice(_OWN_PORTS)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind((_SHARED, port))
        except OSError:
            continue
        return port
