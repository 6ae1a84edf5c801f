"""What `import podfleet` costs beyond importing what it needs of the Kubernetes client.

``make bench-import`` runs it on the installed wheel, whose bytecode is compiled, as a user's is.
Both imports are timed in turns, each in a fresh Python, so a busy machine slows both alike.
"""

import argparse
import statistics
import subprocess
import sys

from attrs import frozen

__all__ = ["CLIENT", "Cost", "measure", "report"]

CLIENT = (
    "import aiohttp, kubernetes.aio.client.api_client, kubernetes.aio.client.configuration, "
    "kubernetes.aio.client.rest, kubernetes.aio.config.config_exception, "
    "kubernetes.aio.config.incluster_config, kubernetes.aio.config.kube_config"
)
"""What `podfleet.kube` imports of the client and its transport."""

LIMIT = 150.0  # milliseconds
_TIMED = "import time; start = time.process_time(); {}; print(time.process_time() - start)"


@frozen
class Cost:
    """Seconds of processor time, one for each import."""

    client: list[float]
    podfleet: list[float]

    @property
    def beyond(self) -> float:
        """The milliseconds that podfleet adds: the difference of the medians."""
        return 1000 * (statistics.median(self.podfleet) - statistics.median(self.client))


def measure(rounds: int) -> Cost:
    """Time both imports so many times, in turns."""
    cost = Cost([], [])
    for _ in range(rounds):
        cost.client.append(_time(CLIENT))
        cost.podfleet.append(_time("import podfleet"))
    return cost


def report(cost: Cost) -> str:
    client, podfleet = (1000 * statistics.median(times) for times in (cost.client, cost.podfleet))
    return (
        f"client {client:.0f} ms, podfleet {podfleet:.0f} ms (x {podfleet / client:.2f}): "
        f"{cost.beyond:.0f} ms beyond the client"
    )


def _time(statement: str) -> float:
    timed = [sys.executable, "-c", _TIMED.format(statement)]
    return float(subprocess.run(timed, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=20)
    cost = measure(arguments.parse_args().rounds)
    print(report(cost))
    if cost.beyond > LIMIT:
        sys.exit(f"More than {LIMIT:.0f} ms: see `python -X importtime -c 'import podfleet'`")


if __name__ == "__main__":
    main()
