"""Allocate a game server for a match, print what its players dial, release it.

On the cluster that kubectl uses: ``GAME_SERVER_IMAGE=... python examples/quickstart.py``.
"""

import os

from podfleet import Fleet, GameServerTemplate, HostPort, NodeAddress, Port, PortPool

fleet = Fleet(
    "quickstart",
    template=GameServerTemplate(
        image=os.environ.get("GAME_SERVER_IMAGE", "ghcr.io/acme/arena:1.4"),
        ports=[Port("game", 7777, "UDP")],
    ),
    exposure=HostPort(PortPool(7000, 7099), address=NodeAddress(internal=True)),
    namespace=os.environ.get("NAMESPACE"),  # by default that of kubectl
)


def main() -> None:
    """Run one match."""
    with fleet:
        server = fleet.allocate(session="match-42", timeout=60)  # seconds
        print(f"{server.session}: dial {server.endpoint}")
        server.release()


if __name__ == "__main__":
    main()
