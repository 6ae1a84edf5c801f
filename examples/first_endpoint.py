"""Allocate a game server, dial it, print what it answers, release it.

Without a cluster: ``python examples/first_endpoint.py``. On the one that kubectl uses: with
``--cluster``. The game server is a UDP echo, there in a stock Python image; ``--image REF`` takes
another that answers UDP datagrams on 7777.
"""

import argparse
import socket
import sys
from contextlib import ExitStack

from podfleet import Cluster, Fleet, GameServerTemplate, HostPort, NodeAddress, Port, PortPool
from podfleet.local import LocalCluster

ECHO = """
import os, socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((os.environ.get("POD_IP", ""), 7777))  # set on the embedded cluster
while True:
    data, client = server.recvfrom(2048)
    server.sendto(b"echo: " + data, client)
"""


PYTHON = "python:3-alpine"


def game_server(image: str | None, python: str) -> GameServerTemplate:
    """Return what a server is: the image given, or an echo that needs none of its own."""
    return GameServerTemplate(
        image=image or PYTHON,
        command=None if image else [python, "-c", ECHO],
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
    """Choose the cluster."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cluster", action="store_true", help="on the cluster of kubectl")
    arguments.add_argument("--image", help="a game server there that answers UDP on 7777")
    chosen = arguments.parse_args()
    with ExitStack() as running:
        if chosen.cluster or chosen.image:
            play(Cluster(), game_server(chosen.image, "python"))
        else:
            local = running.enter_context(LocalCluster({PYTHON: [sys.executable]}))
            play(local.cluster, game_server(None, sys.executable))


def play(cluster: Cluster, template: GameServerTemplate) -> None:
    """Run one match on a cluster."""
    # internal=True: on a cluster of one's own the nodes often have private addresses only.
    exposure = HostPort(PortPool(7000, 7999), address=NodeAddress(internal=True))
    fleet = Fleet(
        "first-endpoint",
        template=template,
        exposure=exposure,
        cluster=cluster,
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
