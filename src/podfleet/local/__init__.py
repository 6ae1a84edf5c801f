"""The embedded cluster: podfleet without a cluster.

`LocalCluster` serves the Kubernetes API that podfleet uses on a loopback port, and runs Pods as
processes of this machine. It is for development and tests.
"""

from podfleet.local.api.audit import AuditEvent
from podfleet.local.cluster import LocalCluster
from podfleet.local.node.programs import ServerContext
from podfleet.local.shape import Node

__all__ = ["AuditEvent", "LocalCluster", "Node", "ServerContext"]
