"""``python -m tests.soak [--seconds 300] [--seed N]``: prints a table, a line for each day."""

import argparse
import asyncio
import random
import sys

from tests.soak.report import HEADER, faults_in, line
from tests.soak.soak import soak

_NIGHT = 5.0  # seconds that a night takes, about


def main(arguments: list[str] | None = None) -> None:
    """Run for so long; exit with 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="about how long")
    parser.add_argument("--day", type=float, default=10.0, help="seconds that a day takes")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    chosen = parser.parse_args(arguments)
    days = max(3, round(chosen.seconds / (chosen.day + _NIGHT)))
    print(f"seed {chosen.seed}: {days} days of {chosen.day:g} s", flush=True)
    print(HEADER, flush=True)
    result = asyncio.run(
        soak(days, chosen.day, chosen.seed, lambda row: print(line(row), flush=True))
    )
    wrong = faults_in(result)
    print(f"callers were told: {dict(result.errors)}")
    print("\n".join(wrong) if wrong else "nothing was wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
