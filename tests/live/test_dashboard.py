"""The Grafana dashboard: what its panels ask of a real Prometheus that scrapes a fleet at work."""

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from podfleet import Fleet, HeadlessDNS
from podfleet.metrics import Metrics
from tests.cluster.fixtures import Backend
from tests.live.arena import eventually, make
from tests.live.test_warm import until_ready

pytestmark = pytest.mark.only("real", "Prometheus comes with what the real cluster is made of")

DASHBOARD = json.loads(
    (Path(__file__).parents[2] / "docs" / "grafana" / "podfleet.json").read_text()
)
QUERIES = {
    f"{panel['title']}: {target['expr']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}


class Prometheus:
    """One that runs.

    Args:
        url: Its API's.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def is_ready(self) -> bool:
        """Return whether it answers."""
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=10):
                return True
        except OSError:
            return False

    def ask(self, path: str, **query: str) -> Any:
        """Return what it answers, which has to be well."""
        with urllib.request.urlopen(
            f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10
        ) as answer:
            return json.load(answer)["data"]

    def values(self, query: str) -> list[float]:
        """Return the numbers that a panel would draw, as Grafana asks for them."""
        query = query.replace("$fleet", ".+").replace("$__rate_interval", "4s")
        found = [float(one["value"][1]) for one in self.ask("query", query=query)["result"]]
        return [value for value in found if isfinite(value)]


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[Prometheus]:
    """Have one scrape a port of this machine, each second."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    scrape = {"job_name": "game", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.kill()


def test_every_panel_has_something_to_draw(backend: Backend, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        with (
            make(Fleet, backend, ready=1, exposure=HeadlessDNS()) as fleet,
            prometheus(tmp_path, server.server_port) as asked,
        ):
            Metrics(registry).watch(fleet)

            def drawn() -> set[str]:
                until_ready(fleet, 1)
                fleet.allocate(timeout=60).release()
                return {title for title, query in QUERIES.items() if asked.values(query)}

            eventually(asked.is_ready)
            eventually(lambda: drawn() == set(QUERIES), 60)
            (variable,) = DASHBOARD["templating"]["list"]
            assert variable["definition"] == "label_values(podfleet_servers, fleet)"
            shown = asked.ask("label/fleet/values", **{"match[]": "podfleet_servers"})
            assert shown == ["arena"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
