"""Allocate a game server, dial it, print what it answers, release it.

On the cluster that kubectl uses: ``python examples/first_endpoint.py``. The game server is a UDP
echo in a stock Python image; ``--image REF`` takes another that answers UDP datagrams on 7777.
"""

import argparse
import socket

from podfleet import Fleet, GameServerTemplate, HostPort, NodeAddress, Port, PortPool

ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 7777))
while True:
    data, client = server.recvfrom(2048)
    server.sendto(b"echo: " + data, client)
"""


def game_server(image: str | None) -> GameServerTemplate:
    """Return what a server is: the image given, or an echo that needs none of its own."""
    return GameServerTemplate(
        image=image or "python:3-alpine",
        command=None if image else ["python", "-c", ECHO],
        ports=[Port("game", 7777, "UDP")],
        pod={"spec": {"terminationGracePeriodSeconds": 1}},  # it saves nothing when it ends
    )


def dial(host: str, port: int, message: bytes) -> bytes:
    """Return what the server answers to a datagram."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as client:
        client.settimeout(5)
        client.sendto(message, address)
        return client.recv(2048)


def main() -> None:
    """Run one match."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--image", help="a game server that answers UDP on 7777")
    image = arguments.parse_args().image

    # internal=True: on a cluster of one's own the nodes often have private addresses only.
    exposure = HostPort(PortPool(7000, 7999), address=NodeAddress(internal=True))
    fleet = Fleet(
        "first-endpoint",
        template=game_server(image),
        exposure=exposure,
        probe=b"ping",  # hand it out only when it answers: it has no readiness probe
    )
    with fleet:
        server = fleet.allocate(timeout=120)  # seconds; the image may have to be pulled first
        try:
            print(f"{server.name} on {server.node}: {server.endpoint}/UDP")
            answer = dial(server.endpoint.host, server.endpoint.port, b"hello")
            print(f"It answers: {answer.decode(errors='replace')}")
        finally:
            server.release()
            print("Released.")


if __name__ == "__main__":
    main()
