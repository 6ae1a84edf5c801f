"""What may stand for a policy: a number, a policy, or a function of a load."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

from podfleet.errors import ConfigurationError
from podfleet.model.workload import check_replicas
from podfleet.scaling.buffer import Buffer
from podfleet.scaling.load import Load
from podfleet.scaling.policy import ScalingPolicy, check_free

__all__ = ["Policy", "as_policy"]

Policy: TypeAlias = int | ScalingPolicy | Callable[[Load], int | None]
"""``5`` is ``Buffer(5)``."""


@frozen
class _Function(ScalingPolicy):
    name: str
    function: Callable[[Load], int | None]

    def free(self, load: Load) -> int | None:
        return check_free(self.name, self.function(load))


def as_policy(name: str, value: Policy) -> ScalingPolicy:
    """Return the policy that an argument stands for.

    Args:
        name: The argument, as the caller spelled it.
        value: What was given.

    Raises:
        ConfigurationError: It stands for none.

    Example:
        >>> as_policy("Fleet.ready", 5)
        Buffer(ready=5, min=0, max=None)
    """
    if isinstance(value, ScalingPolicy):
        return value
    if isinstance(value, int):
        return Buffer(check_replicas(name, value))
    if callable(value) and not isinstance(value, type):  # a class: its () was forgotten
        return _Function(name, value)
    raise ConfigurationError(
        name,
        value,
        "must be a number of servers, a policy such as Buffer('20%'), or a function of a Load",
    )
