"""Servers for browsers, behind one Istio gateway: each has a path of its own.

On the cluster that kubectl uses, which has Istio and its ingress gateway at ``GATEWAY``:
``GATEWAY=203.0.113.80 GAME_SERVER_IMAGE=... python examples/istio.py``. The server speaks HTTP or
WebSocket on 8080.
"""

import os

from podfleet import ByPath, Fleet, GameServerTemplate, IstioRoute, Port

fleet = Fleet(
    "browser",
    template=GameServerTemplate(
        image=os.environ.get("GAME_SERVER_IMAGE", "ghcr.io/acme/arena:1.4"),
        ports=[Port("web", 8080, "TCP")],
    ),
    exposure=IstioRoute(
        ByPath(port=int(os.environ.get("GATEWAY_PORT", "80"))),
        address=os.environ.get("GATEWAY", "203.0.113.80"),
    ),
    namespace=os.environ.get("NAMESPACE"),  # by default that of kubectl
)


def main() -> None:
    """Run one match."""
    with fleet:
        server = fleet.allocate(session="match-42", timeout=60)  # seconds
        print(f"open {server.endpoint.url('ws', '/ws')}")
        server.release()


if __name__ == "__main__":
    main()
