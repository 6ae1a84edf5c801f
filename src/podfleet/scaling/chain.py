"""`Chain`: the first policy that says something counts."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from podfleet.model.plain import each
from podfleet.scaling.convert import Policy, as_policy
from podfleet.scaling.load import Load
from podfleet.scaling.policy import ScalingPolicy

__all__ = ["Chain"]


def _policies(value: Iterable[Policy]) -> tuple[ScalingPolicy, ...]:
    given = each("Chain.policies", value, "[Demand(), 5]")
    return tuple(as_policy(f"Chain.policies[{at}]", policy) for at, policy in enumerate(given))


@frozen
class Chain(ScalingPolicy):
    """Policies in order: the first that says something counts.

    If none does, nothing is said: so a chain may stand in another one, or in a `Schedule`.

    Args:
        policies: Numbers, policies, or functions of a `Load`; the most important first.

    Raises:
        ConfigurationError: What is no policy.

    Example:
        >>> from datetime import UTC, datetime
        >>> now = datetime(2026, 11, 23, 20, 30, tzinfo=UTC)
        >>> policy = Chain([lambda load: 30 if load.waiting else None, 5])
        >>> policy.free(Load(now=now)), policy.free(Load(now=now, waiting=2))
        (5, 30)
    """

    policies: tuple[ScalingPolicy, ...] = field(converter=_policies)

    def free(self, load: Load) -> int | None:
        """Return what the first policy that says something says."""
        said = (policy.free(load) for policy in self.policies)
        return next((free for free in said if free is not None), None)
