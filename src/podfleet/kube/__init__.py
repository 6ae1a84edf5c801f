"""The Kubernetes API in plain JSON: transport, retries, and the watched store."""

from podfleet.kube.client import KubeClient
from podfleet.kube.cluster import Cluster, Connection
from podfleet.kube.guard import Guard, written_since
from podfleet.kube.progress import Progress, Stage
from podfleet.kube.reflector import Reflector
from podfleet.kube.store import Change, Store

__all__ = [
    "Change",
    "Cluster",
    "Connection",
    "Guard",
    "KubeClient",
    "Progress",
    "Reflector",
    "Stage",
    "Store",
    "written_since",
]
