"""`Port`: what a game server listens on."""

from __future__ import annotations

import re
from enum import Enum

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError

__all__ = ["Port", "Protocol", "check_port_number"]


class Protocol(Enum):
    """The protocol of a port.

    ``TCPUDP`` is one number that serves both, as many games want it.
    """

    TCP = "TCP"
    UDP = "UDP"
    TCPUDP = "TCPUDP"

    @property
    def transports(self) -> tuple[str, ...]:
        """The Kubernetes protocols: ``("TCP", "UDP")`` for `TCPUDP`."""
        return ("TCP", "UDP") if self is Protocol.TCPUDP else (self.value,)


def _protocol(value: Protocol | str) -> Protocol:
    try:
        return Protocol(value)
    except ValueError:
        raise ConfigurationError("Port.protocol", value, "must be TCP, UDP or TCPUDP") from None


def check_port_number(field_name: str, value: int) -> int:
    """Return the number if it is a port, 1 to 65535, else raise `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise ConfigurationError(field_name, value, "must be a whole number from 1 to 65535")
    return value


# Kubernetes' IANA_SVC_NAME, less the suffix that TCPUDP adds:
# https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ (ports.name)
_NAME = re.compile(r"(?=.{1,11}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")


@frozen
class Port:
    """A port that the game server's process listens on, inside its container.

    Args:
        name: Its name, unique in the template: up to 11 lower-case letters, digits and ``-``,
            at least one letter. (Kubernetes allows 15; four are kept for ``-tcp``, ``-udp``.)
        number: The container's port, 1 to 65535.
        protocol: ``"UDP"`` (default), ``"TCP"`` or ``"TCPUDP"``; a `Protocol` or its name.

    Raises:
        ConfigurationError: A name, number or protocol that Kubernetes would refuse.

    Example:
        >>> Port("game", 7777).protocol.transports
        ('UDP',)
        >>> Port("game", 7777, "TCPUDP").protocol.transports
        ('TCP', 'UDP')
    """

    name: str = field()
    number: int = field()
    protocol: Protocol = field(default=Protocol.UDP, converter=_protocol)

    @name.validator
    def _check_name(self, _: Attribute[str], value: str) -> None:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise ConfigurationError(
                "Port.name",
                value,
                "must be 1 to 11 lower-case letters, digits or single '-', "
                "with at least one letter",
            )

    @number.validator
    def _check_number(self, _: Attribute[int], value: int) -> None:
        check_port_number("Port.number", value)

    @property
    def container_names(self) -> dict[str, str]:
        """The name of each container port: transport to name."""
        transports = self.protocol.transports
        if len(transports) == 1:
            return {transports[0]: self.name}
        return {transport: f"{self.name}-{transport.lower()}" for transport in transports}
