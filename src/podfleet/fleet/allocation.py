"""`Allocation`: one call of ``allocate``, from nothing to a claimed server, or to nothing left.

What if we die after each line? Before the create: nothing exists. After it: an unclaimed Pod,
which becomes ready and is adopted by the next allocation of any replica. After the claim:
an allocated Pod with its session, which ``find`` returns.
"""

from __future__ import annotations

import asyncio
import random
from itertools import count

from podfleet.errors import (
    AllocationError,
    AllocationTimeout,
    ApiError,
    Contended,
    Exhausted,
    PortPoolExhausted,
    QuotaExceeded,
    RangeFull,
    WaitTimeout,
)
from podfleet.fleet.claim import Claim, is_claimable
from podfleet.fleet.core import Core
from podfleet.kube.retry import AMBIGUOUS
from podfleet.model import Diagnosis, Endpoint, Manifest
from podfleet.model.manifest import name_of
from podfleet.model.names import new_server_name
from podfleet.waiters.diagnosis import diagnose, is_ready
from podfleet.waiters.reachable import until_reachable, until_resolved
from podfleet.waiters.watching import explain, until_ready

__all__ = ["Allocation"]

_CLAIM_TRIES = 5
_LOST_PAUSE = 0.1  # seconds at most, so that those who lost do not all try at once again
_PORT_TRIES = 10
_REFUSED_PAUSE = 1.0  # seconds until numbers that others have are asked for again
_CLEANUP_PATIENCE = 5.0  # seconds that an error waits for its Pod's deletion
_PROBE_MARGIN = 0.1  # seconds
_READY_TOO_LATE = "its Pod is ready, but its endpoint was not known in time: allow more time"
_LAST_LOOK = 3.0  # seconds for the one fresh read before a timeout is told


class Allocation:
    """One call of ``allocate``.

    Args:
        core: The running fleet.
        claim: What to write on the server.
        timeout: Seconds, for everything together.
    """

    def __init__(self, core: Core, claim: Claim, timeout: float) -> None:
        self._core = core
        self._claim = claim
        self._timeout = timeout
        self._deadline = asyncio.get_running_loop().time() + timeout
        self._server: str | None = None
        self._numbers: tuple[int, ...] = ()
        self._creating: asyncio.Task[Manifest] | None = None
        self._refused: Manifest | ApiError | None = None
        self._none_free: PortPoolExhausted | None = None

    async def run(self) -> tuple[Manifest, tuple[Endpoint, ...]]:
        """Return a claimed, ready Pod and its endpoints.

        Raises:
            PodfleetError: Nothing was allocated, and nothing is left behind.
        """
        try:
            return await self._within_time()
        except BaseException:
            await self._clean_up()
            raise
        finally:
            self._forget()

    async def _within_time(self) -> tuple[Manifest, tuple[Endpoint, ...]]:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._claim_one()
        except WaitTimeout as error:  # the probe's; both it and the next are TimeoutErrors
            raise AllocationTimeout(f"fleet {self._core.spec.name}: {error}") from error
        except TimeoutError as error:
            if isinstance(error, AllocationError):
                raise
            raise await self._timed_out() from None
        except (QuotaExceeded, RangeFull) as error:
            raise Exhausted(f"fleet {self._core.spec.name}: {error}") from error

    async def _claim_one(self) -> tuple[Manifest, tuple[Endpoint, ...]]:
        # Of a StatefulSet's servers the lowest is everybody's first choice: until time is up.
        for _ in count() if self._core.replicas is not None else range(_CLAIM_TRIES):
            pod = await self._obtain()
            endpoints = await self._exposed(pod)
            if endpoints is not None:
                await self._probe(endpoints)
                claimed = await self._core.claim(pod, self._claim)
                if claimed is not None:
                    if is_ready(claimed):
                        return claimed, await self._exposed_by_claim(pod, claimed) or endpoints
                    await self._clean_up()  # it fell ill between the last event and the claim
            self._forget()
            await asyncio.sleep(random.uniform(0, _LOST_PAUSE))
        raise Contended(
            f"fleet {self._core.spec.name}: {_CLAIM_TRIES} servers in turn were claimed by other "
            "callers first: try again"
        )

    async def _obtain(self) -> Manifest:
        """Return a ready server to claim."""
        if self._core.replicas is None:
            return self._adopt() or await self._start()
        pod = await self._core.replicas.obtain(self._core.wanted)
        self._want(name_of(pod), ())
        return pod

    def _adopt(self) -> Manifest | None:
        """Return a ready server whose starter is no more."""
        spoken_for = self._core.wanted | self._core.abandoned.keys()
        for pod_name in self._core.orphans.adoptable(spoken_for):
            pod = self._core.store.get(pod_name)
            if pod is not None:
                self._want(pod_name, ())
                return pod
        return None

    async def _exposed(self, pod: Manifest) -> tuple[Endpoint, ...] | None:
        """Return the endpoints; ``None`` if the server cannot have its numbers: it is gone."""
        try:
            endpoints = await self._core.exposer.until_exposed(pod)
        except ApiError as error:
            if not self._core.spec.exposure.refused(error):
                raise
            await self._clean_up()  # its starter was killed before it had found out
            self._forget()
            return None
        if self._core.spec.exposure.resolves:
            for host in {endpoint.host for endpoint in endpoints}:
                await until_resolved(host, self._left())
        return endpoints

    async def _exposed_by_claim(
        self, pod: Manifest, claimed: Manifest
    ) -> tuple[Endpoint, ...] | None:
        """Return the endpoints that the claim itself brought: those of the session's route.

        Die before they are there, and asking for the session again makes them.
        """
        wanted = self._core.spec.exposure.server_objects
        template = self._core.spec.template
        if wanted(claimed, template) == wanted(pod, template):
            return None
        return await self._core.exposer.until_exposed(claimed)

    async def _start(self) -> Manifest:
        """Create a server and return it once it is ready, on numbers that nobody refused."""
        tried: set[int] = set()
        tries = 0
        while True:
            pod_name = new_server_name(self._core.spec.name)
            numbers = await self._take(pod_name)
            self._want(pod_name, numbers)
            tried |= set(numbers)
            tries += 1
            with self._core.ports.watch_freed() as freed:
                pod = await self._ready_or_refused(pod_name, numbers)
                if pod is None and not (tries < _PORT_TRIES and self._untried(tried)):
                    # A node may join and take this Pod, or a number become free for another.
                    pod = await self._ready_unless(pod_name, freed)
                    if not isinstance(self._refused, ApiError):
                        tried.clear()
                        tries = 0
            if pod is not None:
                return pod
            self._core.ports.refuse(pod_name, numbers)
            self._core.abandon(pod_name, self._claim)
            self._forget()

    async def _take(self, pod_name: str) -> tuple[int, ...]:
        """Return numbers for a Pod as soon as there are any."""
        while True:
            with self._core.ports.watch_freed() as freed:
                try:
                    return self._core.ports.take(pod_name)
                except PortPoolExhausted as error:
                    self._none_free = error
                await _wait(freed, _REFUSED_PAUSE)  # another fleet may share the pool

    def _untried(self, tried: set[int]) -> bool:
        pool = self._core.spec.exposure.pool
        return pool is not None and len(tried) < len(pool)

    async def _create(self, pod_name: str, numbers: tuple[int, ...]) -> None:
        # Not cancelled with us: a create in flight would be carried out behind our back.
        self._creating = asyncio.create_task(self._core.create(pod_name, numbers, self._left()))
        await asyncio.shield(self._creating)

    async def _ready_or_refused(self, pod_name: str, numbers: tuple[int, ...]) -> Manifest | None:
        """Return the new Pod once it is ready; ``None`` if the cluster refused its numbers."""
        refused = self._core.spec.exposure.refused
        try:
            await self._create(pod_name, numbers)
        except ApiError as error:
            if not refused(error):
                raise
            self._refused = error
            return None
        if isinstance(self._refused, ApiError):
            self._refused = None  # these numbers are ours
        pod = await until_ready(self._core.client, self._core.store, pod_name, stop=refused)
        if not refused(pod):
            return pod
        self._refused = pod
        return None

    async def _ready_unless(self, pod_name: str, freed: asyncio.Event) -> Manifest | None:
        """Return the Pod once it is ready; ``None`` if a number became free before."""
        if isinstance(self._refused, ApiError):  # a Pod that cannot be exposed
            await _wait(freed, _REFUSED_PAUSE)
            return None
        ready = asyncio.ensure_future(until_ready(self._core.client, self._core.store, pod_name))
        other = asyncio.ensure_future(freed.wait())
        try:
            await asyncio.wait({ready, other}, return_when=asyncio.FIRST_COMPLETED)
            return ready.result() if ready.done() else None
        finally:
            for waiting in (ready, other):
                waiting.cancel()

    async def _probe(self, endpoints: tuple[Endpoint, ...]) -> None:
        probe = self._core.spec.probe
        if probe is False:
            return
        payload = probe if isinstance(probe, bytes) else None
        for endpoint in endpoints:
            if payload is not None or "TCP" in endpoint.protocol.transports:
                await until_reachable(endpoint, self._left(), payload)

    def _left(self) -> float:
        """Return the seconds left, less a moment: what did not answer is the better word."""
        left = self._deadline - asyncio.get_running_loop().time() - _PROBE_MARGIN
        return max(left, _PROBE_MARGIN)

    def _want(self, pod_name: str, numbers: tuple[int, ...]) -> None:
        self._server, self._numbers, self._creating = pod_name, numbers, None
        self._core.wanted.add(pod_name)

    def _forget(self) -> None:
        if self._server is not None:
            self._core.wanted.discard(self._server)
        self._server, self._numbers, self._creating = None, (), None

    async def _clean_up(self) -> None:
        """Leave nothing: not now, and not when a create in flight is carried out late."""
        if self._server is not None:
            cleaning = self._core.in_background(
                self._undo(self._server, self._numbers, self._creating)
            )
            await asyncio.wait({cleaning}, timeout=_CLEANUP_PATIENCE)

    async def _undo(
        self, pod_name: str, numbers: tuple[int, ...], creating: asyncio.Task[Manifest] | None
    ) -> None:
        if creating is not None:
            await asyncio.wait({creating})
            error = creating.exception()
            if error is not None and not isinstance(error, AMBIGUOUS):
                pod = self._core.store.get(pod_name)
                if pod is None:  # refused: there is no Pod, and no event will free its numbers
                    self._core.ports.give_back(pod_name, numbers)
                    return
        elif numbers and self._core.store.get(pod_name) is None:
            self._core.ports.give_back(pod_name, numbers)
            return
        await self._core.abandon(pod_name, self._claim)
        if self._core.store.get(pod_name) is None:
            self._core.ports.give_back(pod_name, numbers)

    async def _timed_out(self) -> AllocationError:
        """Return the error that says why the time was not enough, by one fresh read."""
        where = f"fleet {self._core.spec.name}"
        said = f"no server within {self._timeout:.3g} s"
        pod, diagnosis = await self._last_look()
        replicas = self._core.replicas
        if replicas is not None and self._server is None and replicas.at_limit and pod is None:
            return Exhausted(
                f"{where}: {said}: all {len(replicas.pods)} servers are in use, and the "
                "StatefulSet is at its limit: release servers, or raise StatefulSet.limit"
            )
        if pod is not None:
            where = f"{where}: {self._core.namespace}/{name_of(pod)}"
        if self._server is None and self._none_free is not None:
            return self._no_port(f"{where}: {said}", str(self._none_free))
        if isinstance(self._refused, ApiError) or (
            self._refused is not None and (pod is None or not pod["spec"].get("nodeName"))
        ):
            return self._refusal(f"{where}: {said}", self._refused)
        if diagnosis is not None and diagnosis.reason == "Unschedulable":
            return Exhausted(f"{where}: {said}: {diagnosis}", diagnosis=diagnosis)
        return AllocationTimeout(
            f"{where}: {said}: {diagnosis or _READY_TOO_LATE}", diagnosis=diagnosis
        )

    async def _last_look(self) -> tuple[Manifest | None, Diagnosis | None]:
        pod = self._core.store.get(self._server) if self._server else None
        if self._core.replicas is not None and self._server is None:
            free = [one for one in self._core.replicas.pods.values() if is_claimable(one)]
            pod = free[0] if free else None
        try:
            async with asyncio.timeout(_LAST_LOOK):
                pod = (await self._core.read(self._server) if self._server else None) or pod
                return pod, await explain(self._core.client, pod) if pod else None
        except (TimeoutError, *AMBIGUOUS):
            return pod, None

    def _refusal(self, said: str, refused: Manifest | ApiError) -> PortPoolExhausted:
        pool = self._core.spec.exposure.pool
        if isinstance(refused, ApiError):
            why = f"others have every free port of {pool!r}. The API server says: {refused}"
            return self._no_port(said, why)
        diagnosis = diagnose(refused)
        asked = self._core.spec.exposure.ports_needed(self._core.spec.template)
        why = (
            f"no node has {asked} free port(s) of {pool!r}; widen the pool, add a node or release "
            f"servers. The scheduler says: {diagnosis.message if diagnosis else '?'}"
        )
        return self._no_port(said, why, diagnosis)

    def _no_port(
        self, said: str, why: str, diagnosis: Diagnosis | None = None
    ) -> PortPoolExhausted:
        pool = self._core.spec.exposure.pool
        held_by = dict(pool.in_use) if pool is not None else {}
        free = pool.free if pool is not None else 0
        return PortPoolExhausted(
            f"{said}: {why}",
            asked=self._core.spec.exposure.ports_needed(self._core.spec.template),
            free=free,
            held_by=held_by,
            diagnosis=diagnosis,
        )


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
