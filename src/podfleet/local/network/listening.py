"""Where this machine listens: so that a port of a Node is open only while its Pod's is.

A connection that is accepted on a Pod's behalf, and then cut, would look like a server that is
there. Linux tells by netlink, as ``ss -lt`` asks:
https://man7.org/linux/man-pages/man7/sock_diag.7.html
(``/proc/net/tcp`` lists every old connection besides, and takes a hundred times as long).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from attrs import frozen

__all__ = ["Listening"]

_SOCK_DIAG, _BY_FAMILY = 4, 20  # NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_LISTEN = 1 << 10  # TCP_LISTEN
_HEADER = struct.Struct("=LHHLL")  # nlmsghdr
_REQUEST = struct.Struct("=BBBxL48x")  # inet_diag_req_v2
_ANSWER = struct.Struct("!4xH2x16s")  # inet_diag_msg: port and address
_ANY = "0.0.0.0"  # noqa: S104 (what is compared with)


@frozen
class Listening:
    """The TCP sockets that listen.

    Args:
        sockets: Address and port of each; ``None`` where the system does not tell.
    """

    sockets: frozenset[tuple[str, int]] | None

    @classmethod
    def now(cls) -> Listening:
        """Look."""
        if not hasattr(socket, "AF_NETLINK"):
            return cls(None)
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asked:
                found = [*_ask(asked, socket.AF_INET), *_ask(asked, socket.AF_INET6)]
        except OSError:  # a kernel without it
            return cls(None)
        return cls(frozenset(found))

    def has(self, address: str, port: int) -> bool:
        """Return whether somebody listens there; true if it cannot be known."""
        known = self.sockets
        return known is None or (address, port) in known or (_ANY, port) in known


def _ask(asked: socket.socket, family: int) -> Iterator[tuple[str, int]]:
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _LISTEN)
    header = _HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _DUMP, 0, 0)
    asked.send(header + request)
    while True:
        data = asked.recv(2**16)
        while data:
            size, kind, *_ = _HEADER.unpack_from(data)
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError("no sock_diag")
            port, address = _ANSWER.unpack_from(data, _HEADER.size)
            if family == socket.AF_INET:
                yield socket.inet_ntoa(address[:4]), port
            elif not any(address):  # of IPv6 only "any" matters here
                yield _ANY, port
            data = data[(size + 3) & ~3 :]
