"""Where an operation is played, and what it says of itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from podfleet import (
    Cluster,
    Fleet,
    FleetGroup,
    GameServerTemplate,
    HeadlessDNS,
    HostPort,
    NodeAddress,
    Port,
    PortPool,
)
from podfleet.fleet.claiming import strays
from podfleet.fleet.pool import orphans
from podfleet.fleet.sets import replicas
from podfleet.fleet.tending import reaper, surplus, tender

__all__ = ["ADDRESS", "HURRY", "Operation", "Stage"]

ADDRESS = NodeAddress(fixed="192.0.2.1")  # nobody dials these servers

HURRY: tuple[tuple[Any, str, float], ...] = (
    # There is no other backend, which might be about to claim what is ready.
    (orphans, "_AFTER", 1.0),
    (strays, "_AFTER", 1.0),
    (surplus, "_LASTS", 0.5),
    (reaper, "_ENDED", 1.0),
    (replicas, "_MARK_LASTS", 4.0),
    (tender, "_LASTS", 4.0),
    (tender, "_RENEW", 2.0),
)
"""What takes long otherwise: up to a minute."""


@frozen
class Stage:
    """Where an operation is played: a namespace of its own, as it can be sent to a process.

    Args:
        namespace: The namespace.
        kubeconfig: How it is reached.
        image: The servers' image.
        crowd: What a template says for hundreds of servers to have room.
        first: The first of ten ports that no other stage uses.
    """

    namespace: str
    kubeconfig: Path
    image: str
    crowd: dict[str, Any]
    first: int

    @property
    def pool(self) -> PortPool:
        """Its ports."""
        return PortPool(self.first, self.first + 9)

    def template(self, **changes: Any) -> GameServerTemplate:
        """Return the servers' template."""
        # A process that is told to end while it starts may miss it, and is then given this long.
        pod = {"spec": {"terminationGracePeriodSeconds": 2}}
        ports = [Port("game", 7777, "TCP")]
        made = {"image": self.image, "ports": ports, "pod": pod, **self.crowd, **changes}
        return GameServerTemplate(**made)

    def fleet(self, name: str = "arena", **settings: Any) -> Fleet:
        """Return a replica's fleet."""
        return Fleet(
            name,
            **{
                "template": self.template(),
                "exposure": HostPort(self.pool, address=ADDRESS),
                "namespace": self.namespace,
                "cluster": Cluster(kubeconfig=self.kubeconfig),
                **settings,
            },
        )

    def group(self) -> FleetGroup:
        """Return a replica's group of two fleets."""
        fleets = [self.fleet(name, exposure=HeadlessDNS()) for name in ("red", "blue")]
        return FleetGroup("arena", fleets)


@frozen(kw_only=True)
class Operation:
    """One operation.

    Args:
        act: Carries it out, in the process that may be killed.
        replica: Makes the fleet, or group, that comes afterwards.
        before: Sets the scene.
        left: The servers that there are if nothing of it was done.
        done: The servers that there are when it is done.
        between: What else there may be when it is half done.
        session: A session that is asked for in the end.
        real: Whether its servers must be more than played.
    """

    act: Callable[[Stage], object]
    replica: Callable[[Stage], Any] = Stage.fleet
    before: Callable[[Stage], object] = lambda _: None
    left: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    between: tuple[tuple[str, ...], ...] = ()
    session: str | None = "match-1"
    real: bool = False
