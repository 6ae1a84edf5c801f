"""Print when the API server shows each Pod of a namespace Ready: a process of its own.

    python -m benchmarks.ready_times KUBECONFIG NAMESPACE

In the measured process a busy event loop would take the time down late. The monotonic clock is one
for all processes of a machine.
"""

import asyncio
import sys
import time

from podfleet import Cluster
from podfleet.kube import KubeClient
from podfleet.kube.events import parse
from podfleet.kube.paths import pods
from podfleet.waiters.diagnosis import is_ready


async def follow(kubeconfig: str, namespace: str) -> None:
    """Print ``watching``, then a line ``NAME SECONDS`` for each Pod, until killed."""
    client = KubeClient(Cluster(kubeconfig=kubeconfig))
    version = (await client.get(pods(namespace)))["metadata"]["resourceVersion"]
    query = {"resourceVersion": version, "timeoutSeconds": "3600"}
    print("watching", flush=True)
    seen: set[str] = set()
    async for line in client.watch(pods(namespace), query, silence=600):
        event = parse(line)
        now = time.monotonic()
        if event is not None and is_ready(event["object"]):
            name = event["object"]["metadata"]["name"]
            if name not in seen:
                seen.add(name)
                print(name, now, flush=True)


if __name__ == "__main__":
    asyncio.run(follow(*sys.argv[1:]))
