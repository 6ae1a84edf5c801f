"""A day of a game, simulated: who waits under each scaling policy, and what stands idle for it.

    python -m benchmarks.scaling_day [--json FILE] [--plot FILE]

No cluster, no clock: some seconds. The day is the same for every policy, and in every run.
"""

import argparse
import json
import math
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from benchmarks.day import HOUR, ZONE, Match, Sample, Simulation, day
from podfleet import Buffer, Chain, Demand, Load, Schedule, Window
from podfleet.bench import quantile
from podfleet.scaling import Policy, as_policy


def careful(load: Load) -> int:
    """Follow the demand, and keep a share of all servers free at least."""
    return max(Demand().free(load), Buffer("5%").free(load))


POLICIES: Final[Mapping[str, Policy]] = {
    "0": 0,
    "Buffer(20)": Buffer(20),
    "Buffer(50)": Buffer(50),
    'Buffer("20%")': Buffer("20%"),
    "Schedule": Schedule(
        [
            Window(start="17:00", end="02:00", policy=60),
            Window(start="11:00", end="17:00", policy=35),
        ],
        zone=ZONE,
        otherwise=20,
    ),
    "Demand()": Demand(),
    "Demand(covered=0.999)": Demand(covered=0.999),
    "Chain": Chain(
        [Schedule([Window(start="15:55", end="16:10", policy=100)], zone=ZONE), Demand()]
    ),
    "careful": careful,
}


@frozen
class Outcome:
    """A policy's day.

    Args:
        policy: Its name.
        allocations: How many servers were asked for.
        misses: How many callers found none ready.
        mean_wait: Seconds that these waited.
        p99_wait: Seconds that 99 of 100 of all callers waited at most.
        idle_hours: Hours that servers were ready and nobody's.
        unused: How many servers were deleted before anybody had them.
        samples: The picture's points.
    """

    policy: str
    allocations: int
    misses: int
    mean_wait: float
    p99_wait: float
    idle_hours: float
    unused: int
    samples: list[Sample]


def simulate(name: str, matches: list[Match]) -> Outcome:
    """Return a policy's day."""
    simulation = Simulation(as_policy(name, POLICIES[name]))
    simulation.run(matches)
    waits = simulation.waits
    waited = [wait for wait in waits if wait > 0]
    return Outcome(
        policy=name,
        allocations=sum(match.at >= 0 for match in matches),
        misses=simulation.misses,
        mean_wait=math.fsum(waited) / len(waited) if waited else 0.0,
        p99_wait=quantile(waits, 0.99),
        idle_hours=simulation.idle / HOUR,
        unused=simulation.unused,
        samples=simulation.samples,
    )


HEAD: Final = (
    "| policy | callers who waited | of all | for, on average | p99 of all waits "
    "| idle server hours | deleted unused |\n|---|---|---|---|---|---|---|"
)


def row(outcome: Outcome) -> str:
    """Return a policy's line of the table, in Markdown."""
    share = outcome.misses / outcome.allocations
    return (
        f"| `{outcome.policy}` | {outcome.misses:,} | {share:.2%} | {outcome.mean_wait:.1f} s "
        f"| {outcome.p99_wait:.1f} s | {outcome.idle_hours:,.0f} | {outcome.unused:,} |"
    )


# The policies whose free servers are drawn, each with its colour: told apart by the colour-blind
# too (Okabe and Ito).
_DRAWN = {
    'Buffer("20%")': "#cc79a7",
    "Schedule": "#e69f00",
    "Buffer(50)": "#0072b2",
    "careful": "#d55e00",
    "Demand()": "#009e73",
}


def plot(outcomes: list[Outcome], file: Path) -> None:
    """Draw the day, and what each policy makes of it: needs the extra ``plots``."""
    matplotlib = import_module("matplotlib")  # an extra
    plt = import_module("matplotlib.pyplot")
    matplotlib.rcParams["svg.hashsalt"] = "podfleet"  # the same picture in every run
    figure, axes = plt.subplot_mosaic(
        [["day", "day"], ["free", "free"], ["waited", "idle"]],
        figsize=(8, 9.5),
        height_ratios=(2, 3, 3),
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.1)
    for name in ("day", "free"):
        axes[name].set(xlim=(0, 24), xticks=range(0, 25, 3))
    _draw_hours(axes["day"], axes["free"], outcomes)
    waited = [100 * one.misses / one.allocations for one in outcomes]
    _draw_bars(axes["waited"], outcomes, waited, "{:.1f} %")
    axes["waited"].set_title("Callers who waited (log scale)", loc="left")
    axes["waited"].set_xscale("symlog", linthresh=1)
    axes["waited"].set(xlim=(0, 1000), xticks=[])
    axes["waited"].minorticks_off()
    _draw_bars(axes["idle"], outcomes, [one.idle_hours for one in outcomes], "{:,.0f}")
    axes["idle"].set_title("Idle server hours of the day", loc="left")
    axes["idle"].set(xlim=(0, 4200), xticks=[], yticklabels=[])
    figure.savefig(file, metadata={"Date": None})


def _draw_hours(day: Any, free: Any, outcomes: list[Outcome]) -> None:
    day.set_title("Matches at once: a night, an evening, and a rush at 16:00", loc="left")
    samples = outcomes[0].samples
    hours = [sample.hour for sample in samples]
    day.fill_between(hours, [sample.allocated for sample in samples], color="#999999", linewidth=0)
    day.set_ylim(0)
    free.set_title("Free and ready servers, a mean of ten minutes", loc="left")
    by_name = {outcome.policy: outcome.samples for outcome in outcomes}
    for name, colour in _DRAWN.items():
        ready = [sample.ready for sample in by_name[name]]
        free.plot(hours, ready, color=colour, label=name, linewidth=1.4)
    free.set_yscale("log")
    marks = (2, 5, 10, 20, 50, 100, 200, 400)
    free.set_yticks(marks, labels=map(str, marks))
    free.minorticks_off()
    free.set(ylim=(2, 700), xlabel="hour")
    free.legend(ncols=len(_DRAWN), loc="upper center", frameon=False, fontsize="small")


def _draw_bars(axes: Any, outcomes: list[Outcome], values: list[float], form: str) -> None:
    names = [outcome.policy for outcome in outcomes]
    bars = axes.barh(names, values, color=[_DRAWN.get(name, "#777777") for name in names])
    axes.bar_label(bars, labels=map(form.format, values), padding=3, fontsize="small")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def main(arguments: list[str] | None = None) -> None:
    """Print the table that stands in the docs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--plot", type=Path, help="draw the day there: needs podfleet[plots]")
    chosen = parser.parse_args(arguments)
    matches = day()
    print(HEAD)
    outcomes = []
    for name in POLICIES:
        outcomes.append(simulate(name, matches))
        print(row(outcomes[-1]))
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(one) for one in outcomes], indent=1))
    if chosen.plot:
        plot(outcomes, chosen.plot)


if __name__ == "__main__":
    main()
