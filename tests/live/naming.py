"""The cluster's DNS, asked from outside the cluster."""

from dns.exception import DNSException
from dns.resolver import Answer, Resolver

from tests.cluster.places import CLUSTER_DNS


def ask(name: str, kind: str) -> Answer:
    """Return the records that CoreDNS gives for a name.

    Raises:
        OSError: It gives none.
    """
    resolver = Resolver(configure=False)
    resolver.nameservers = [CLUSTER_DNS]
    try:
        return resolver.resolve(f"{name}.", kind, lifetime=5.0)
    except DNSException as error:
        raise OSError(f"{name}: {error}") from error


def resolve(name: str) -> str:
    """Return the one address of a name."""
    (record,) = ask(name, "A")
    return str(record)
