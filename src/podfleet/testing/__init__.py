"""What a backend, or a strategy of one's own, is tested with: on a real cluster."""

import pytest

# Before its import: so that a failed assert of the suite shows the values.
pytest.register_assert_rewrite("podfleet.testing.conformance")

# ruff: noqa: E402
from podfleet.testing.cluster import Place, TestCluster, eventually
from podfleet.testing.conformance import StrategyConformance
from podfleet.testing.credentials import CredentialPlugin
from podfleet.testing.dialing import over_tcp, over_udp
from podfleet.testing.fault import Fault
from podfleet.testing.proxy import FaultyApi

__all__ = [
    "CredentialPlugin",
    "Fault",
    "FaultyApi",
    "Place",
    "StrategyConformance",
    "TestCluster",
    "eventually",
    "over_tcp",
    "over_udp",
]
