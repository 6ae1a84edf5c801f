"""Servers whose names stay: a fleet over a StatefulSet, dialed by DNS name inside the cluster.

On the cluster that kubectl uses: ``GAME_SERVER_IMAGE=... python examples/statefulset.py``.
"""

import os

from podfleet import Fleet, GameServerTemplate, HeadlessDNS, Port, StatefulSet

fleet = Fleet(
    "world",
    template=GameServerTemplate(
        image=os.environ.get("GAME_SERVER_IMAGE", "ghcr.io/acme/arena:1.4"),
        ports=[Port("game", 7777, "UDP")],
    ),
    exposure=HeadlessDNS(),
    workload=StatefulSet(replicas=2, limit=10),
    namespace=os.environ.get("NAMESPACE"),  # by default that of kubectl
)


def main() -> None:
    """Play on the first server, then give the cluster its room back."""
    with fleet:
        server = fleet.allocate(session="guild-7", timeout=60)  # seconds
        print(f"{server.name}: dial {server.endpoint}")
        server.release()  # it comes back under the same name, fresh
        print(f"{fleet.scale(0)} servers are left")


if __name__ == "__main__":
    main()
