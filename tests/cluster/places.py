"""Where things are: what is kept between runs, and what a running cluster needs."""

import os
from pathlib import Path

SOURCES = Path(__file__).parent / "go"

STATE = Path("/var/lib/podfleet-test-cluster")
"""All that a running cluster writes. Fixed, so that a later run finds what a killed one left."""

LOGS = STATE / "logs"
KUBECONFIG = STATE / "kubeconfig"

API_PORT = 16443
HOST = "10.99.0.1"
BRIDGE = "podfleet0"
SERVICES = "10.96.0.0/16"
CLUSTER_DNS = "10.99.0.1"
PODS = "10.98.0.0/16"


def cache() -> Path:
    """Return the folder for what is built, outside the checkout."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("PODFLEET_CACHE") or Path(home, "podfleet"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
