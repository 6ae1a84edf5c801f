"""The allocation benchmark, on the user's own cluster: what `podfleet bench` runs."""

from podfleet.bench.figures import Comparison, Figures, quantile
from podfleet.bench.measuring import Plan, measure
from podfleet.bench.pods import freed, plain_patch
from podfleet.bench.turns import in_turns

__all__ = [
    "Comparison",
    "Figures",
    "Plan",
    "freed",
    "in_turns",
    "measure",
    "plain_patch",
    "quantile",
]
