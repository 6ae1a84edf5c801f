"""What a client can dial: an IP address or a DNS name, and nothing else. Pure."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from podfleet.errors import ConfigurationError

__all__ = ["check_host", "why_no_host"]

_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_MUST = "must be an IP address or a DNS name"
_LONGEST = 253  # characters of a DNS name


def check_host(field: str, value: object) -> str:
    """Return the host if it is an IP address or a DNS name.

    Raises:
        ConfigurationError: It is not; the message says what is wrong with it.

    Example:
        >>> check_host("NodeAddress.fixed", "eu.arena.example")
        'eu.arena.example'
        >>> check_host("NodeAddress.fixed", "203.0.113.7:7000")
        Traceback (most recent call last):
            ...
        podfleet.errors.ConfigurationError: NodeAddress.fixed: '203.0.113.7:7000': must be an \
IP address or a DNS name alone: leave the port out
    """
    wrong = why_no_host(value)
    if wrong is not None:
        raise ConfigurationError(field, value, wrong)
    return str(value)


def why_no_host(value: object) -> str | None:
    """Return what is wrong with a host; ``None`` if it is an IP address or a DNS name.

    Example:
        >>> why_no_host("2001:db8::7")
        >>> why_no_host("http://play.example.com")
        'must be an IP address or a DNS name alone: leave the scheme and the path out'
    """
    return _why_not(value) if isinstance(value, str) else f"{_MUST}, as a string"


@lru_cache(maxsize=4096)  # hosts: it is asked at every allocation, of the same few nodes
def _why_not(value: str) -> str | None:
    must = _MUST
    if not value.strip():
        return f"{must}: it is empty"
    if "/" in value:
        return f"{must} alone: leave the scheme and the path out"
    if "[" in value or "]" in value:
        return f"{must} alone: leave the brackets out, and the port"
    if "%" in value:
        return f"{must}: a zone ('%...') means nothing on the machines of clients"
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return _why_no_name(value, must)
    if address.is_unspecified or address.is_multicast:
        return f"{must} that clients can dial"
    return None


def _why_no_name(value: str, must: str) -> str | None:
    if ":" in value:
        rest, _, port = value.rpartition(":")
        if port.isdecimal() and ":" not in rest:
            return f"{must} alone: leave the port out"
        return f"{must}: this is neither an IPv6 address nor a name"
    if not value.isascii():
        return f"{must}: write an international name in its ASCII form ('xn--...')"
    labels = value.removesuffix(".").split(".")
    if labels[-1].isdecimal():
        return f"{must}: a name does not end with a number, and this is no IPv4 address"
    if len(value) > _LONGEST or not all(map(_LABEL.fullmatch, labels)):
        return (
            f"{must}: a name has labels of 1 to 63 letters, digits or '-', with a letter or digit "
            "at both ends, and dots between them"
        )
    return None
