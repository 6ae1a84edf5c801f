"""`Proxy`: listens on the hostPorts and NodePorts that the cluster's objects ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

from podfleet.local.controllers.controller import Controller
from podfleet.local.controllers.endpoints import SERVICE_NAME
from podfleet.local.network.addresses import Addresses
from podfleet.local.network.forward import Forwarder, Target, Where
from podfleet.local.network.listening import Listening
from podfleet.local.objects.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE
from podfleet.local.objects.registry import Registry
from podfleet.local.objects.store import Change, Key
from podfleet.model import Manifest
from podfleet.model.manifest import labels_of, name_of

__all__ = ["Proxy"]

_log = logging.getLogger(__name__)

_QUICKEST, _QUICK, _SLOW = 0.002, 0.05, 0.5  # seconds until the next look at who listens
_FRESH = 0.002  # seconds that a look serves all

_Port = tuple[Where, str]


class Proxy(Controller):
    """Looks at Pods with hostPorts, and at Services.

    Args:
        registry: The cluster's objects.
        addresses: Where Pods are found.
        is_up: Whether a Node runs.
    """

    def __init__(
        self, registry: Registry, addresses: Addresses, is_up: Callable[[str], bool]
    ) -> None:
        super().__init__(registry)
        self._addresses = addresses
        self._is_up = is_up
        self._open: dict[Hashable, dict[_Port, Forwarder]] = {}
        self._pauses: dict[Hashable, float] = {}
        self._listening, self._looked = Listening(None), 0.0

    def keys(self, change: Change) -> Iterable[Hashable]:
        """Return a Pod with its kind, or a Service with its own."""
        if change.kind in (POD, SERVICE):
            key = change.kind, change.key
        elif change.kind == ENDPOINT_SLICE:
            record = change.after or change.before
            assert record is not None
            key = SERVICE, (change.key[0], labels_of(record.manifest).get(SERVICE_NAME, ""))
        else:
            return []
        self._pauses.pop(key, None)  # it may begin to listen now
        return [key]

    def reconcile(self, key: Hashable) -> float | None:
        """Listen where one object wants it, and nowhere else."""
        assert isinstance(key, tuple)
        kind, which = key
        shown = self._store.get(kind, which)
        wanted: Mapping[_Port, Sequence[Target]] = {}
        if shown is not None:
            found = self._host_ports(shown) if kind == POD else self._service(shown, which)
            wanted = dict(found)
        known = self._open.setdefault(key, {})
        for gone in known.keys() - wanted.keys():
            known.pop(gone).close()
        for (where, transport), targets in wanted.items():
            forwarder = known.setdefault((where, transport), Forwarder(where, transport, []))
            forwarder.targets = targets
        if not known:
            del self._open[key]
            self._pauses.pop(key, None)
            return None
        listening = self._who_listens()
        settled = [self._settle(one, listening) for one in known.values()]
        if all(settled):
            self._pauses.pop(key, None)
            return _SLOW if any(one.transport == "TCP" for one in known.values()) else None
        # A server that has just started listens within milliseconds.
        pause = self._pauses.get(key, _QUICKEST)
        self._pauses[key] = min(2 * pause, _QUICK)
        return pause

    def _who_listens(self) -> Listening:
        now = asyncio.get_running_loop().time()
        if now - self._looked > _FRESH:
            self._listening, self._looked = Listening.now(), now
        return self._listening

    @staticmethod
    def _settle(forwarder: Forwarder, listening: Listening) -> bool:
        """Listen if a server does; return whether it is so."""
        if forwarder.transport == "TCP" and not any(
            listening.has(*target.where) for target in forwarder.targets
        ):
            # /proc/net/tcp is not read in one moment: an entry may be missed once.
            forwarder.missed += 1
            if forwarder.is_open and forwarder.missed > 1:
                forwarder.close()
            return False
        forwarder.missed = 0
        if not forwarder.is_open:
            try:
                forwarder.listen()
            except OSError as error:
                where = f"{forwarder.where[0]}:{forwarder.where[1]}/{forwarder.transport}"
                _log.warning("cannot listen on %s: %s", where, error.strerror)
                return False
        return True

    def look_again(self) -> None:
        """Look at everything: a Node went, or came."""
        for kind in (POD, SERVICE):
            for shown in self._store.all(kind):
                self.mark((kind, (shown["metadata"]["namespace"], name_of(shown))))

    def close(self) -> None:
        """Listen nowhere any more."""
        for known in self._open.values():
            for forwarder in known.values():
                forwarder.close()

    def _host_ports(self, pod: Manifest) -> Iterator[tuple[_Port, list[Target]]]:
        spec, address = pod["spec"], pod["status"].get("podIP")
        over = pod["status"].get("phase") in ("Succeeded", "Failed")
        if not address or over or spec.get("hostNetwork") or not self._is_up(spec["nodeName"]):
            return
        for container in spec["containers"]:
            for port in container.get("ports") or []:
                if port.get("hostPort") and port["protocol"] != "SCTP":
                    host = port.get("hostIP") or pod["status"]["hostIP"]
                    target = Target(self._addresses.locate(address, port["containerPort"]))
                    yield ((host, port["hostPort"]), port["protocol"]), [target]

    def _service(self, service: Manifest, key: Key) -> Iterator[tuple[_Port, list[Target]]]:
        spec, slice_ = service["spec"], self._store.get(ENDPOINT_SLICE, key)
        if slice_ is None or spec.get("clusterIP") == "None":
            return
        ready = [one for one in slice_["endpoints"] if one["conditions"]["ready"]]
        ready = [one for one in ready if self._is_up(one["nodeName"])]
        nodes = self._nodes()
        local = spec.get("externalTrafficPolicy") == "Local"
        for port, target in zip(spec.get("ports") or [], slice_["ports"], strict=False):
            if port["protocol"] == "SCTP" or not ready:
                continue
            located = [
                (one["nodeName"], self._addresses.locate(one["addresses"][0], target["port"]))
                for one in ready
            ]
            if self._addresses.block and port["port"] >= 1024:
                everywhere = [Target(where) for _, where in located]
                yield ((spec["clusterIP"], port["port"]), port["protocol"]), everywhere
            if not port.get("nodePort"):
                continue
            for node, address in nodes.items():
                here = [Target(where) for name, where in located if name == node]
                there = [Target(where, address) for name, where in located if name != node]
                if here or (there and not local):
                    targets = here if local else here + there
                    yield ((address, port["nodePort"]), port["protocol"]), targets

    def _nodes(self) -> dict[str, str]:
        return {
            name_of(node): next(
                one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"
            )
            for node in self._store.all(NODE)
            if self._is_up(name_of(node))
        }
