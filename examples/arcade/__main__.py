"""Run the arcade: ``python -m arcade`` on an embedded cluster, ``--cluster`` on a real one."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import uvicorn
from uvicorn.supervisors import Multiprocess

from arcade.fleet import IMAGE
from podfleet.local import LocalCluster, Node


class Workers(Multiprocess):
    """The backend's processes: one that dies is replaced."""

    def handle_hup(self) -> None:
        """End when the terminal is closed, instead of starting anew."""
        self.handle_term()


def main() -> None:
    """Choose the cluster, and serve."""
    chosen = options()
    config = uvicorn.Config(
        "arcade.backend:app",
        host=chosen.host,
        port=chosen.port,
        workers=chosen.workers,
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    listening = config.bind_socket()
    listening.listen()  # whoever comes before the first worker waits for it
    with ExitStack() as running:
        if chosen.cluster:
            os.environ["ARCADE_IMAGE"] = chosen.image
            print("Game servers run on the cluster that kubectl uses.")
        else:
            # What the cluster starts, and uvicorn's workers, find this package as we do.
            os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
            os.environ["ARCADE_CRASHABLE"] = "yes"
            local = running.enter_context(LocalCluster({IMAGE: [sys.executable]}, nodes=nodes()))
            os.environ["KUBECONFIG"] = str(local.kubeconfig)
            print(f"Game servers run on this machine: KUBECONFIG={local.kubeconfig}")
        host, port = listening.getsockname()[:2]
        host = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104
        print(f"\n    http://{host}:{port}\n\nCtrl-C ends it.", flush=True)
        Workers(config, [listening]).run()


def options() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m arcade", description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="on the cluster of kubectl")
    parser.add_argument("--image", help="there: the arcade's image, which its nodes can pull")
    parser.add_argument("--host", default="127.0.0.1", help="serve the pages on this address")
    parser.add_argument("--port", type=int, default=8000, help="and on this port")
    parser.add_argument("--workers", type=int, default=3, help="backend processes")
    chosen = parser.parse_args()
    if chosen.cluster and not chosen.image:
        parser.error("--cluster needs --image")
    return chosen


def nodes() -> list[Node]:
    """Return two nodes, where each can have addresses of its own."""
    return [Node(name="saturn"), Node(name="venus")][: 2 if sys.platform == "linux" else 1]


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
