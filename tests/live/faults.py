"""A backend whose API server can be told to fail."""

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import evolve

from podfleet.testing.proxy import FaultyApi
from tests.cluster.fixtures import Backend


@contextmanager
def faulty(backend: Backend) -> Iterator[tuple[FaultyApi, Backend]]:
    """Give a proxy, and a backend that talks through it."""
    proxy = FaultyApi(backend.kubeconfig)
    with proxy.kubeconfig(backend.kubeconfig) as through:
        yield proxy, evolve(backend, kubeconfig=through)
