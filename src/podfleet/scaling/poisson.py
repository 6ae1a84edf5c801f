"""How many of a random number of arrivals to be prepared for. Pure."""

from __future__ import annotations

__all__ = ["poisson_quantile"]

# Of the likeliest number's probability. All that is less likely than this sums up to far less
# than 1 - share can be: a float below 1 is at most 1 - 1.1e-16.
_NEGLIGIBLE = 1e-22


def poisson_quantile(mean: float, share: float) -> int:
    """Return the lowest number that a Poisson variable exceeds in at most ``1 - share`` of cases.

    The work grows with the root of the mean: probabilities are taken relative to that of the
    likeliest number, so nothing overflows, and summed from the smallest on.

    Args:
        mean: Its mean, 0 or more.
        share: Above 0, below 1.

    Example:
        >>> poisson_quantile(30.0, 0.99)
        43
    """
    mode = int(mean)
    weights = {mode: 1.0}
    number = mode
    while weights[number] > _NEGLIGIBLE:
        weights[number + 1] = weights[number] * mean / (number + 1)
        number += 1
    highest, number = number, mode
    while number and weights[number] > _NEGLIGIBLE:
        weights[number - 1] = weights[number] * number / mean
        number -= 1
    allowed = (1 - share) * sum(weights.values())
    beyond = 0.0
    for number in range(highest, -1, -1):
        beyond += weights.get(number, 0.0)
        if beyond > allowed:
            return number
    return 0
