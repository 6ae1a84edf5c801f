"""A game server that learns what it is allocated for, and serves one match after the other.

It answers every datagram with its match's session and map. When its backend recycles it, it says
that it is ready again, and waits for the next. Nothing but Python's standard library is needed:
copy ``podfleet/gameserver.py`` beside it.
"""

import os
import socketserver
import threading

from podfleet.gameserver import Match, Readiness, wait_allocated, wait_recycled

GAME = int(os.environ.get("PODFLEET_PORT_7777", "7777"))
PROBE = int(os.environ.get("PODFLEET_PORT_8080", "8080"))
ADDRESS = os.environ.get("POD_IP", "")  # the embedded cluster's Pods share one machine


class Players(socketserver.UDPServer):
    """Answers players."""

    match: Match | None = None


class Talk(socketserver.BaseRequestHandler):
    """One datagram."""

    server: Players

    def handle(self) -> None:
        """Answer with the match."""
        match = self.server.match
        said = "waiting" if match is None else f"{match.session} on {match.metadata.get('map')}"
        self.request[1].sendto(said.encode(), self.client_address)


def main() -> None:
    """Serve until told to end."""
    players = Players((ADDRESS, GAME), Talk)
    threading.Thread(target=players.serve_forever, daemon=True).start()
    readiness = Readiness(PROBE, failures=1, address=ADDRESS)
    while True:
        readiness.say(True)
        players.match = match = wait_allocated()
        print(f"the match {match.session} begins", flush=True)
        wait_recycled(match)
        players.match = None
        readiness.say(False)  # returns when the kubelet has seen it


if __name__ == "__main__":
    main()
