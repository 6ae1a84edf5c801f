"""The cluster's DNS, asked from outside the cluster."""

from dns.exception import DNSException
from dns.resolver import Answer, Resolver

server: tuple[str, int] = ("", 0)
"""Address and port of the DNS of the cluster that the tests run on: its fixture sets it."""


def ask(name: str, kind: str) -> Answer:
    """Return the records that the cluster's DNS gives for a name.

    Raises:
        OSError: It gives none.
    """
    resolver = Resolver(configure=False)
    resolver.nameservers = [server[0]]
    resolver.port = server[1]
    try:
        return resolver.resolve(f"{name}.", kind, lifetime=5.0)
    except DNSException as error:
        raise OSError(f"{name}: {error}") from error


def resolve(name: str) -> str:
    """Return the one address of a name."""
    (record,) = ask(name, "A")
    return str(record)
