"""`DnsServer`: answers the cluster's names on a loopback port, over UDP.

dnspython reads and writes the messages: it is maintained, typed, and needs nothing itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from podfleet.errors import ConfigurationError
from podfleet.local.network.names import Names

__all__ = ["DnsServer"]

_TTL = 5  # seconds, as CoreDNS gives the names of a cluster


class DnsServer(asyncio.DatagramProtocol):
    """Serves A and SRV records.

    Args:
        names: What it knows.

    Raises:
        ConfigurationError: dnspython is not installed.
    """

    def __init__(self, names: Names) -> None:
        try:
            import dns.message
            import dns.rcode
            import dns.rrset
        except ImportError:
            raise ConfigurationError(
                "LocalCluster.dns",
                "dnspython",
                "is not installed: pip install 'podfleet[testing]'; cluster.resolve() needs it not",
            ) from None
        self._names = names
        self._message, self._rcode, self._rrset = dns.message, dns.rcode, dns.rrset

    async def start(self, host: str) -> tuple[str, int]:
        """Serve; return address and port."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0))
        address, port = transport.get_extra_info("sockname")
        return str(address), int(port)

    def stop(self) -> None:
        """Serve no more."""
        self._transport.close()

    def connection_made(self, transport: Any) -> None:
        """Keep what answers are sent by."""
        self._transport = transport

    def datagram_received(self, data: bytes, client: tuple[str, int]) -> None:
        """Answer one question."""
        try:
            question = self._message.from_wire(data)
            asked = question.question[0]
        except Exception:  # whatever it is, it is no question
            return
        name = str(asked.name)
        answer = self._message.make_response(question)
        answer.flags |= 0x0400  # AA: nobody knows better
        if asked.rdtype == 1:
            lines, kind = self._names.addresses(name), "A"
        elif asked.rdtype == 33:
            found = self._names.targets(name)
            lines, kind = [f"0 {100 // len(found)} {port} {host}." for host, port in found], "SRV"
        else:
            lines, kind = [], "A"
        if lines:
            answer.answer.append(self._rrset.from_text(name, _TTL, "IN", kind, *lines))
        elif not self._names.addresses(name) and not self._names.targets(name):
            answer.set_rcode(self._rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), client)
