"""The network: a bridge on this machine, and a network namespace for each node."""

from contextlib import suppress
from pathlib import Path

from attrs import frozen

from tests.cluster.places import BRIDGE, HOST
from tests.cluster.process import run

_NAMED = Path("/run/netns")


@frozen
class NodeNetwork:
    """A node's place in the network."""

    node: str
    number: int

    @property
    def namespace(self) -> str:
        return f"podfleet-{self.node}"

    @property
    def enter(self) -> str:
        """nsenter's option. Not `ip netns exec`: it mounts /sys anew and hides the cgroups."""
        return f"--net=/run/netns/{self.namespace}"

    @property
    def address(self) -> str:
        return f"10.99.0.{10 + self.number}"

    @property
    def pods(self) -> str:
        return f"10.98.{self.number}.0/24"

    @property
    def link(self) -> str:
        return f"pf-{self.node}"


def create(nodes: tuple[NodeNetwork, ...]) -> None:
    """Connect every node to this machine and to each other, its Pods included."""
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "add", f"{HOST}/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    for node in nodes:
        _ip("netns", "add", node.namespace)
        _ip("link", "add", node.link, "type", "veth", "peer", "eth0", "netns", node.namespace)
        _ip("link", "set", node.link, "master", BRIDGE, "up")
        inside = ("-n", node.namespace)
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "address", "add", f"{node.address}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "route", "add", "default", "via", HOST)
        for other in nodes:
            if other != node:
                _ip(*inside, "route", "add", other.pods, "via", other.address)
        _ip("route", "add", node.pods, "via", node.address)
        # sysctls of the network are read and written in the caller's namespace
        run("nsenter", node.enter, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")


def remove() -> None:
    """Remove the bridge, and every namespace of ours with all that is in it."""
    for namespace in _NAMED.glob("podfleet-node-*"):
        with suppress(RuntimeError):
            _ip("netns", "delete", namespace.name)
        namespace.unlink(missing_ok=True)
    for link in Path("/sys/class/net").glob("pf-node-*"):
        _ip("link", "delete", link.name, check=False)
    if Path("/sys/class/net", BRIDGE).exists():
        _ip("link", "delete", BRIDGE)
    if _NAMED.is_dir() and not any(_NAMED.iterdir()):
        run("umount", "--lazy", _NAMED, check=False)  # `ip netns` mounts it on itself
        _NAMED.rmdir()


def _ip(*arguments: str, check: bool = True) -> None:
    run("ip", *arguments, check=check)
