"""`StrategyConformance`: what any strategy must do on a real cluster, ours and a user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest

from podfleet.errors import ConfigurationError, PodfleetError
from podfleet.exposure import ExposureStrategy
from podfleet.fleet.claiming import strays
from podfleet.fleet.pool import orphans
from podfleet.fleet.spec import FleetSpec
from podfleet.kube import Cluster
from podfleet.model import Endpoint, GameServer, GameServerTemplate, Manifest, Port
from podfleet.model.manifest import labels_of, name_of
from podfleet.model.names import FLEET, MAX_FLEET_NAME
from podfleet.model.server import ClaimState, claim_state
from podfleet.model.workload import StatefulSet
from podfleet.sync import Fleet
from podfleet.testing.backend import BackendProcess, Order, describe
from podfleet.testing.cluster import Place, TestCluster, eventually
from podfleet.testing.dialing import over_tcp, over_udp
from podfleet.testing.fault import Fault
from podfleet.testing.proxy import FaultyApi

__all__ = ["StrategyConformance"]

_GRACE = 5  # seconds; a process that is told to end while it starts may miss it
_TIMEOUT = 60.0  # seconds for whatever the cluster is to do


class StrategyConformance:
    """The tests that any `ExposureStrategy` must pass.

    They run under the rights that ``fleet.manifests()`` prints, and no others. Each needs the
    fixture ``podfleet_cluster``: load the plugin ``podfleet.testing.plugin``.

    Attributes:
        strategy: The strategy, or a method that returns a fresh one. Backends that are killed
            or restarted run in processes of their own, which import the test class's file.
        ports: What the servers listen on: the first number is the main one.
        servers: How many servers are asked for at once.
        workload: A `StatefulSet`, to test the strategy over its Pods.

    Example:
        >>> from podfleet import NodeAddress, NodePortPerPod
        >>> class TestMine(StrategyConformance):
        ...     strategy = NodePortPerPod(address=NodeAddress(internal=True))
    """

    strategy: Any
    ports: ClassVar[Sequence[Port]] = (Port("game", 7777, "TCPUDP"), Port("admin", 7778, "TCP"))
    servers: ClassVar[int] = 5
    workload: ClassVar[StatefulSet | None] = None

    def strategy_in(self, namespace: str) -> ExposureStrategy:
        """Return the strategy of a fleet in a namespace.

        Override it if each namespace needs its own: a domain, a range of a shared gateway's ports.
        """
        made = self.strategy if isinstance(self.strategy, ExposureStrategy) else self.strategy()
        assert isinstance(made, ExposureStrategy), f"{type(self).__name__}.strategy is none"
        return made

    def template(self, image: str) -> GameServerTemplate:
        """Return what the servers are made of; override it to run an image of your own."""
        main, *others = (port.number for port in self.ports)
        return GameServerTemplate(
            image=image,
            ports=self.ports,
            env={"PORT": str(main), "EXTRA_PORTS": ",".join(map(str, others))},
            pod={"spec": {"terminationGracePeriodSeconds": _GRACE}},
        )

    def dial(self, endpoint: Endpoint, transport: str) -> str:
        """Return the name of the server that answers; override it to dial as your players do.

        Raises:
            OSError: None does, yet.
        """
        answer = (over_udp if transport == "UDP" else over_tcp)(endpoint, timeout=2)
        return answer.split(" ")[0]

    def fleet(self, name: str, namespace: str, kubeconfig: Path, image: str) -> Fleet:
        """Return a fleet with this strategy."""
        return Fleet(
            name,
            template=self.template(image),
            exposure=self.strategy_in(namespace),
            workload=self.workload,
            namespace=namespace,
            cluster=Cluster(kubeconfig=kubeconfig),
        )

    @pytest.fixture
    def place(self, podfleet_cluster: TestCluster) -> Iterator[Place]:
        """Give a namespace with an account that has no rights yet."""
        with podfleet_cluster.place() as place:
            yield place

    def test_each_endpoint_is_answered_by_its_own_server(self, place: Place) -> None:
        """Many at once; all different; afterwards nothing is left of them."""
        with self._granted(place) as fleet, ThreadPoolExecutor(self.servers) as threads:
            servers = list(
                threads.map(lambda _: fleet.allocate(timeout=3 * _TIMEOUT), range(self.servers))
            )
            list(threads.map(self._assert_answered, servers))
            dialed = [
                (str(endpoint), endpoint.path, *endpoint.headers.items(), transport)
                for server in servers
                for endpoint in server.endpoints
                for transport in endpoint.protocol.transports
            ]
            assert len(dialed) == len(set(dialed)), "two servers share an endpoint"
            list(threads.map(fleet.release, servers))
            self._assert_nothing_left(place, fleet)

    def test_every_port_has_its_endpoint(self, place: Place) -> None:
        """In the template's order, with its names and protocols."""
        with self._granted(place) as fleet:
            endpoints = fleet.allocate(timeout=_TIMEOUT).endpoints
            shown = [(endpoint.name, endpoint.protocol) for endpoint in endpoints]
            assert shown == [(port.name, port.protocol) for port in self.ports]

    def test_endpoints_survive_a_restart_of_the_backend(self, place: Place) -> None:
        """Read back from the cluster alone, by another process."""
        with self._granted(place) as fleet:
            before = fleet.allocate("match-1", timeout=_TIMEOUT)
        backend = BackendProcess(self._order(place, fleet.name, place.kubeconfig))
        assert backend.wait(_TIMEOUT) == describe(before)
        self._assert_answered(before)

    def test_two_fleets_of_one_name_do_not_touch(
        self, place: Place, podfleet_cluster: TestCluster
    ) -> None:
        """In two namespaces, for one session, each with the numbers that the other may want."""
        with podfleet_cluster.place() as other:
            place.grant(self._fleet(place))
            backend = BackendProcess(self._order(place, "arena", place.kubeconfig))
            with self._granted(other) as fleet:
                ours = fleet.allocate("match-1", timeout=_TIMEOUT)
                theirs = backend.wait(_TIMEOUT)
                assert theirs is not None
                assert [server.name for server in fleet.servers("allocated")] == [ours.name]
                self._assert_answered(ours)
                mine = {(one[0], one[3], *one[4].items()) for one in describe(ours)["endpoints"]}
                foreign = {(one[0], one[3], *one[4].items()) for one in theirs["endpoints"]}
                assert not mine & foreign
            with self._fleet(place) as fleet:
                fleet.release(theirs["name"])
                self._assert_nothing_left(place, fleet)
            self._assert_answered(ours)

    def test_names_at_the_limit(self, place: Place) -> None:
        """A fleet's name may have 52 characters."""
        with self._granted(place, "a" * MAX_FLEET_NAME) as fleet:
            server = fleet.allocate("m" * 1024, timeout=_TIMEOUT)
            self._assert_answered(server)
            fleet.release(server)
            self._assert_nothing_left(place, fleet)

    def test_a_pod_deleted_behind_our_back(self, place: Place) -> None:
        """Its session has no server then, and gets another."""
        with self._granted(place) as fleet:
            gone = fleet.allocate("match-1", timeout=_TIMEOUT)
            place.delete("v1", "pods", gone.name)
            eventually(lambda: fleet.find("match-1") is None)
            server = fleet.allocate("match-1", timeout=_TIMEOUT)
            assert server.uid != gone.uid
            self._assert_answered(server)

    def test_an_object_deleted_behind_our_back(self, place: Place) -> None:
        """Asked again for the session, the fleet makes its server's objects anew."""
        with self._granted(place) as fleet:
            server = fleet.allocate("match-1", timeout=_TIMEOUT)
            pod = self._pod_of(place, server)
            for resource in self._spec(place).exposure.server_objects(pod, self._template(place)):
                manifest = resource.manifest
                place.delete(manifest["apiVersion"], resource.plural, name_of(manifest))
            again = fleet.allocate("match-1", timeout=_TIMEOUT)
            assert again.uid == server.uid
            self._assert_answered(again)

    def test_a_shared_object_deleted_behind_our_back(self, place: Place) -> None:
        """A fleet that starts without it, and has no right to make it, says what to do."""
        with self._granted(place) as fleet:
            server = fleet.allocate("match-1", timeout=_TIMEOUT)
        for resource in self._spec(place).shared:
            if resource.exists:
                continue
            manifest = resource.manifest
            place.delete(manifest["apiVersion"], resource.plural, name_of(manifest))
            with pytest.raises(ConfigurationError, match=r"fleet\.manifests\(\)"):
                self._fleet(place).start()
            assert [str(finding) for finding in self._fleet(place).preflight()] != []
        with self._granted(place) as fleet:
            self._assert_answered(fleet.allocate("match-1", timeout=_TIMEOUT))
            assert [shown.uid for shown in fleet.servers("allocated")] == [server.uid]

    def test_killed_after_any_of_its_writes(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a restart and one reconcile nothing is left, and every port is free again."""
        # There is no other backend, which might be about to claim what is ready.
        monkeypatch.setattr(orphans, "_AFTER", 0.5)
        monkeypatch.setattr(strays, "_AFTER", 0.5)
        place.grant(self._fleet(place))
        # The first to come to a StatefulSet writes other things than those after it.
        times = 1 if self.workload is None else 3
        for number in count():
            fatal = 1 + number // times
            if not self._killed_after(fatal, place, f"match-{number}"):
                break
        assert fatal > 1, "nothing was written"
        with self._fleet(place) as fleet:
            fleet.reconcile()
            found = [fleet.find(f"match-{one}") for one in range(number + 1)]
            assert found[-1] is not None, "nobody killed the last one"
            for one, claimed in enumerate(found):
                if claimed is not None:  # killed after the claim: a match's, and mended
                    self._assert_answered(fleet.allocate(f"match-{one}", timeout=_TIMEOUT))
                    claimed.release()
            self._assert_nothing_left(place, fleet)

    def test_a_refusal_is_told_and_leaves_nothing(self, place: Place) -> None:
        """Whatever the API server refuses: the Pod, an object of its own, or the claim."""
        proxy = FaultyApi(place.kubeconfig)
        place.grant(self._fleet(place))
        with (
            proxy.kubeconfig(place.kubeconfig) as kubeconfig,
            self._fleet(place, kubeconfig=kubeconfig) as fleet,
        ):
            server = fleet.allocate(timeout=_TIMEOUT)
            pod = self._pod_of(place, server)
            server.release()
            own = fleet.exposure.server_objects(pod, self._template(place))
            made = [f"/{one.plural}$" for one in own]
            if self.workload is None:
                made.insert(0, "/pods$")
            for method, path in (*(("POST", path) for path in made), ("PATCH", "/pods/")):
                proxy.fail(Fault(method, path, status=403))
                with pytest.raises(PodfleetError, match="403"):
                    fleet.allocate(timeout=_TIMEOUT)
                self._assert_nothing_left(place, fleet)

    def test_what_cannot_be_exposed_is_refused(self, place: Place) -> None:
        """A template without ports: at once, before anything is written."""
        with pytest.raises(ConfigurationError, match="port"):
            Fleet(
                "arena",
                template=GameServerTemplate(image=place.image),
                exposure=self._spec(place).exposure,
            )

    def test_the_preflight_names_what_is_missing(self, place: Place) -> None:
        """Everything before the administrator came; nothing after."""
        missing = self._fleet(place).preflight()
        assert any("no right to delete pods" in finding.what for finding in missing)
        assert all(finding.what and finding.why and finding.remedy for finding in missing)
        with self._granted(place) as fleet:
            assert [str(finding) for finding in fleet.preflight()] == []

    def _killed_after(self, fatal: int, place: Place, session: str) -> bool:
        """Run a backend that is killed after so many writes; return whether it was."""
        proxy = FaultyApi(
            place.kubeconfig, after_write=lambda n: backend.kill() if n == fatal else None
        )
        with proxy.kubeconfig(place.kubeconfig) as kubeconfig:
            backend = BackendProcess(self._order(place, "arena", kubeconfig, session))
            return backend.wait(_TIMEOUT) is None

    def _fleet(self, place: Place, name: str = "arena", kubeconfig: Path | None = None) -> Fleet:
        return self.fleet(name, place.namespace, kubeconfig or place.kubeconfig, place.image)

    def _granted(self, place: Place, name: str = "arena") -> Fleet:
        """Return a fleet that the administrator has prepared the cluster for."""
        fleet = self._fleet(place, name)
        place.grant(fleet)
        return fleet

    def _template(self, place: Place) -> GameServerTemplate:
        return self.template(place.image)

    def _spec(self, place: Place, name: str = "arena") -> FleetSpec:
        return FleetSpec(
            name=name,
            template=self._template(place),
            exposure=self.strategy_in(place.namespace),
            workload=self.workload,
        )

    def _order(self, place: Place, fleet: str, kubeconfig: Path, session: str = "match-1") -> Order:
        return Order(
            file=inspect.getfile(type(self)),
            name=type(self).__qualname__,
            fleet=fleet,
            namespace=place.namespace,
            kubeconfig=str(kubeconfig),
            image=place.image,
            session=session,
            timeout=_TIMEOUT / 3,
        )

    def _assert_answered(self, server: GameServer) -> None:
        """Dial every endpoint over every transport; the first answer must be the server's own."""
        assert server.endpoints
        for endpoint in server.endpoints:
            for transport in endpoint.protocol.transports:

                def answer(endpoint: Endpoint = endpoint, transport: str = transport) -> str:
                    try:
                        return self.dial(endpoint, transport)
                    except OSError:
                        return ""

                assert eventually(answer) == server.name, f"{endpoint} over {transport}"

    def _assert_nothing_left(self, place: Place, fleet: Fleet) -> None:
        """Wait until there is no Pod, no object of one, and no number in use.

        The Pods of a StatefulSet come back, nobody's; what such a one has is not left over.
        """
        kept = {name_of(one.manifest) for one in self._spec(place, fleet.name).shared}

        def left() -> list[str]:
            pods = self._of_fleet(place, fleet, "v1", "pods")
            free = set()
            if self.workload is not None:
                free = {name_of(pod) for pod in pods if claim_state(pod) is ClaimState.UNCLAIMED}
            kinds = {("v1", "pods"), ("v1", "services"), *self._kinds(place)}
            return [
                f"{plural}/{name_of(shown)}"
                for api_version, plural in sorted(kinds)
                for shown in self._of_fleet(place, fleet, api_version, plural)
                if name_of(shown) not in kept
                and name_of(shown) not in free
                and not any(one["name"] in free for one in _owners(shown))
            ]

        _until_empty(left)
        pool = fleet.exposure.pool
        if pool is not None:
            mine = f"{place.namespace}/"
            _until_empty(
                lambda: [one for held in pool.in_use.values() for one in held if mine in one]
            )

    @staticmethod
    def _of_fleet(place: Place, fleet: Fleet, api_version: str, plural: str) -> list[Manifest]:
        found = place.objects(api_version, plural)
        return [one for one in found if labels_of(one).get(FLEET) == fleet.name]

    def _kinds(self, place: Place) -> set[tuple[str, str]]:
        """Return the kinds of the objects that the strategy makes for each server."""
        spec = self._spec(place)
        pod = spec.pod(place.namespace, "arena-sample", self._sample(spec))
        own = spec.exposure.server_objects(pod, spec.template)
        return {(one.manifest["apiVersion"], one.plural) for one in own}

    @staticmethod
    def _sample(spec: FleetSpec) -> tuple[int, ...]:
        pool = spec.exposure.pool
        needed = spec.exposure.ports_needed(spec.template)
        return tuple(range(pool.first, pool.first + needed)) if pool is not None else ()

    def _pod_of(self, place: Place, server: GameServer) -> Manifest:
        return next(pod for pod in place.objects("v1", "pods") if name_of(pod) == server.name)


def _owners(manifest: Manifest) -> Sequence[Manifest]:
    return manifest["metadata"].get("ownerReferences") or ()


def _until_empty(listed: Callable[[], list[str]]) -> None:
    """Wait until there is nothing; say what there is if it stays."""
    try:
        eventually(lambda: not listed(), _TIMEOUT)
    except AssertionError:
        assert listed() == []
