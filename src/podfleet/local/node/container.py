"""`Container`: one container of a Pod, from its image to its last exit."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from podfleet.local.node import volumes
from podfleet.local.node.environment import Missing, environment, expand
from podfleet.local.node.machine import Machine
from podfleet.local.node.probes import Prober
from podfleet.local.node.programs import Exit, Program, ServerContext, StartError
from podfleet.local.node.status import ContainerState
from podfleet.local.objects.kinds import Kind
from podfleet.model import Manifest
from podfleet.model.manifest import name_of, uid_of

__all__ = ["Container"]

_FIRST_BACKOFF, _LONGEST_BACKOFF = 10.0, 300.0  # seconds: pkg/kubelet/kubelet.go
_HEALTHY = 600.0  # seconds of running after which the back-off begins anew
_CONFIG_RETRY = 10.0  # seconds
_RESYNC = 12.0  # seconds until a Pod that failed is looked at again: 10 to 15
_TAIL = 2048  # bytes of a log that may stand for a termination message
_REFERENCE = re.compile(
    r"([\w.-]+(:\d+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)


class Container:
    """Runs one container.

    Args:
        spec: The container, of the Pod's spec.
        pod: Gives the Pod as it is now.
        machine: What all share.
        folder: The Pod's files.
        address: The Pod's address.
        publish: Called whenever the state has changed.
    """

    def __init__(
        self,
        state: ContainerState,
        pod: Callable[[], Manifest],
        machine: Machine,
        folder: Path,
        address: str,
        publish: Callable[[], None],
    ) -> None:
        self.state = state
        self.spec = state.spec
        self._pod = pod
        self._machine = machine
        self._folder = folder
        self._address = address
        self._publish = publish
        self._program: Program | None = None
        self._known = asyncio.Event()  # whether it runs: not while it is being started
        self._known.set()
        self._over = asyncio.Event()
        self._over.set()
        self._probes: list[asyncio.Task[None]] = []
        self._env: dict[str, str] = {}
        self._ending = False

    async def run(self, *, policy: str) -> Exit:
        """Run it, again as the policy says; return how it ended for good."""
        backoff = 0.0
        while True:
            ended, seconds = await self._once()
            again = policy == "Always" or (policy == "OnFailure" and ended.code != 0)
            if not again or self._ending:
                return ended
            if seconds >= _HEALTHY:
                backoff = 0.0
            if backoff:
                self._back_off(backoff)
                await self._machine.clock.sleep(backoff)
            backoff = min(_LONGEST_BACKOFF, backoff * 2 or _FIRST_BACKOFF)
            self.state.last = self.state.last if "waiting" in self.state.state else self.state.state
            self.state.restarts += 1

    async def _once(self) -> tuple[Exit, float]:
        await self._image()
        env = await self._configured()
        clock = self._machine.clock
        log = self.log(self.state.restarts)
        log.parent.mkdir(parents=True, exist_ok=True)
        began = clock.now()
        self.state.identity = f"podfleet://{uuid.uuid4().hex}"
        self._known.clear()
        try:
            program = await self._start(env, log)
        except StartError as error:
            return self._unstarted(str(error)), 0.0
        finally:
            self._known.set()
        self._program = program
        self._over.clear()
        self._env = env
        self._tell("Started", "Container started")
        self.state.state = {"running": {"startedAt": clock.stamp(began)}}
        self.state.started = not self.spec.get("startupProbe")
        self.state.probed = not self.spec.get("readinessProbe")
        self._begin_probes()
        self._publish()
        try:
            ended = await program.wait()
        except asyncio.CancelledError:
            program.kill()
            raise
        finally:
            self._end_probes()
            self._program = None
            self._over.set()
        self._terminated(ended, clock.stamp(began))
        return ended, clock.now() - began

    async def stop(self, grace: float, why: str = "") -> None:
        """End it: preStop, a request to end, and after the grace period by force."""
        self._ending = self._ending or not why
        await self._known.wait()  # it may have begun already, and gets its time to end
        program = self._program
        if program is None:
            return
        self._tell("Killing", why or f"Stopping container {self.state.name}")
        try:
            with self._machine.clock.timeout(max(grace, 0.001)):
                await self._pre_stop()
                program.terminate()
                await self._over.wait()
        except TimeoutError:
            program.kill()
            await self._over.wait()

    def kill(self, *, out_of_memory: bool = False) -> bool:
        """End it by force, as if by itself; ``False`` if it does not run."""
        if self._program is not None:
            self._program.kill(out_of_memory=out_of_memory)
        return self._program is not None

    def log(self, run: int) -> Path:
        """Return the file with what one of its runs printed."""
        return self._folder / "logs" / self.state.name / f"{run}.log"

    async def _image(self) -> None:
        """Wait until the image can be had."""
        image = self.spec["image"]
        if not _REFERENCE.fullmatch(image):
            words = (
                f'Failed to apply default image tag "{image}": couldn\'t parse image name '
                f'"{image}": invalid reference format'
            )
            await self._fail_forever("InvalidImageName", words, "InspectFailed")
        backoff = _FIRST_BACKOFF
        while image not in self._machine.images:
            if self.spec["imagePullPolicy"] == "Never":
                words = f'Container image "{image}" is not present with pull policy of Never'
                await self._fail_forever("ErrImageNeverPull", words, "ErrImageNeverPull")
            why = (
                f'failed to pull and unpack image "{image}": not found: podfleet\'s embedded '
                f"cluster pulls nothing: register it with cluster.images[{image!r}] = [...]"
            )
            self._tell("Pulling", f'Pulling image "{image}"')
            self._tell("Failed", f'Failed to pull image "{image}": {why}', warning=True)
            self._tell("Failed", "Error: ErrImagePull", warning=True)
            self._waits("ErrImagePull", why)
            await self._machine.clock.sleep(_RESYNC)
            self._tell("BackOff", f'Back-off pulling image "{image}"')
            self._tell("Failed", "Error: ImagePullBackOff", warning=True)
            self._waits(
                "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {why}'
            )
            await self._machine.clock.sleep(backoff)
            backoff = min(_LONGEST_BACKOFF, backoff * 2)
        self._tell("Pulled", f'Container image "{image}" already present on machine')

    async def _fail_forever(self, reason: str, words: str, event: str) -> None:
        """Tell what no waiting mends, for as long as the Pod is there."""
        while True:
            self._tell(event, words, warning=True)
            self._tell("Failed", f"Error: {reason}", warning=True)
            self._waits(reason, words)
            await self._machine.clock.sleep(_CONFIG_RETRY)

    async def _configured(self) -> dict[str, str]:
        """Wait until what the environment comes from is there; return it."""
        while True:
            pod = self._pod()
            try:
                asked = environment(pod, self.spec, self._find)
                break
            except Missing as error:
                self._tell("Failed", f"Error: {error}", warning=True)
                self._waits("CreateContainerConfigError", str(error))
                await self._machine.clock.sleep(_CONFIG_RETRY)
        root = volumes.mount(self.spec, self._folder)
        own = {
            "HOSTNAME": pod["spec"].get("hostname") or name_of(pod),
            "POD_IP": self._machine.addresses.listens(self._address),
            **self._own_ports(),
            "PODFLEET_ROOT": str(root),
        }
        return {**own, **asked}

    def _own_ports(self) -> dict[str, str]:
        """Return where to listen for each port, where that is another."""
        locate = self._machine.addresses.locate
        numbers = [one["containerPort"] for one in self.spec.get("ports") or []]
        found = {number: locate(self._address, number)[1] for number in numbers}
        return {f"PODFLEET_PORT_{n}": str(port) for n, port in found.items() if n != port}

    def _find(self, kind: Kind, name: str) -> Manifest | None:
        return self._machine.registry.store.get(kind, (self._pod()["metadata"]["namespace"], name))

    async def _start(self, env: dict[str, str], log: Path) -> Program:
        image = self._machine.images[self.spec["image"]]
        command = [expand(word, env) for word in self.spec.get("command") or []]
        args = [expand(word, env) for word in self.spec.get("args") or []]
        programs = self._machine.programs
        self._tell("Created", "Container created")
        if callable(image) and not command:
            pod = self._pod()
            context = ServerContext(
                name=name_of(pod),
                namespace=pod["metadata"]["namespace"],
                address=self._machine.addresses.listens(self._address),
                env=env,
                log=log,
            )
            return await programs.task(image, context)
        argv = [*(command or ([] if callable(image) else image)), *args]
        try:
            return await programs.process(argv, env, self.spec.get("workingDir"), log)
        except StartError as error:
            words = f'failed to create containerd task: exec: "{argv[0]}": {error}'
            raise StartError(words) from None

    def _unstarted(self, words: str) -> Exit:
        self._tell("Failed", f"Error: {words}", warning=True)
        ended = {
            "exitCode": 128,
            "reason": "StartError",
            "message": words,
            "startedAt": "1970-01-01T00:00:00Z",
            "finishedAt": self._machine.clock.stamp(),
            "containerID": self.state.identity,
        }
        self.state.state, self.state.started = {"terminated": ended}, False
        self._publish()
        return Exit(128, "StartError")

    def _terminated(self, ended: Exit, began: str) -> None:
        message = ""
        if ended.code and self.spec["terminationMessagePolicy"] == "FallbackToLogsOnError":
            message = self.log(self.state.restarts).read_bytes()[-_TAIL:].decode(errors="replace")
        self.state.state = {
            "terminated": {
                "exitCode": ended.code,
                "reason": ended.reason,
                **({"message": message} if message else {}),
                "startedAt": began,
                "finishedAt": self._machine.clock.stamp(),
                "containerID": self.state.identity,
            }
        }
        self.state.started = False
        self._publish()

    def _back_off(self, seconds: float) -> None:
        pod = self._pod()
        who = f"{name_of(pod)}_{pod['metadata']['namespace']}({uid_of(pod)})"
        words = f"restarting failed container {self.state.name} in pod {who}"
        self._tell("BackOff", f"Back-off {words}", warning=True)
        self.state.last = self.state.state
        length = f"{seconds / 60:.0f}m0s" if seconds % 60 == 0 else f"{seconds:g}s"
        if seconds > 60 and seconds % 60:
            length = f"{seconds // 60:.0f}m{seconds % 60:g}s"
        self._waits(
            "CrashLoopBackOff",
            f"back-off {length} restarting failed container={self.state.name} pod={who}",
        )

    def _waits(self, reason: str, message: str) -> None:
        self.state.state = {"waiting": {"reason": reason, "message": message}}
        self._publish()

    def _begin_probes(self) -> None:
        prober = Prober(
            self.spec,
            self._address,
            self._machine.addresses.locate,
            self._machine.clock,
            self._machine.session,
            self._execute,
        )
        kinds = [
            kind for kind in ("startup", "liveness", "readiness") if self.spec.get(f"{kind}Probe")
        ]
        loop = asyncio.get_running_loop()
        if "startup" in kinds:
            self._probes = [loop.create_task(self._watch(prober, "startup"))]
        else:
            self._probes = [loop.create_task(self._watch(prober, kind)) for kind in kinds]

    def _end_probes(self) -> None:
        for probe in self._probes:
            probe.cancel()
        self._probes = []

    async def _watch(self, prober: Prober, kind: str) -> None:
        def failed(words: str) -> None:
            told = f"{kind.capitalize()} probe failed: {words}"
            self._tell("Unhealthy", told, warning=True)

        if kind == "startup":
            passed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            asking = asyncio.create_task(
                prober.watch(
                    kind, lambda ok: None if passed.done() else passed.set_result(ok), failed
                )
            )
            try:
                if not await passed:
                    self._fail(kind)
                    return
            finally:
                asking.cancel()
            self.state.started = True
            self._publish()
            others = [one for one in ("liveness", "readiness") if self.spec.get(f"{one}Probe")]
            await asyncio.gather(*(self._watch(prober, one) for one in others))
        elif kind == "liveness":
            await prober.watch(kind, lambda ok: None if ok else self._fail(kind), failed)
        else:
            await prober.watch(kind, self._probed, failed)

    def _probed(self, passes: bool) -> None:
        if self.state.probed != passes:
            self.state.probed = passes
            self._publish()

    def _fail(self, kind: str) -> None:
        """End a run whose probe says that it is no good."""
        pod = self._pod()
        policy = self.spec.get("restartPolicy") or pod["spec"]["restartPolicy"]
        words = f"Container {self.state.name} failed {kind} probe"
        restarts = policy != "Never"
        why = f"{words}, will be restarted" if restarts else f"Stopping container {self.state.name}"
        grace = self.spec[f"{kind}Probe"].get("terminationGracePeriodSeconds")
        if grace is None:
            grace = pod["spec"]["terminationGracePeriodSeconds"]
        self._machine.spawn(self.stop(float(grace), why))

    async def _pre_stop(self) -> None:
        hook = (self.spec.get("lifecycle") or {}).get("preStop") or {}
        if hook.get("sleep"):
            await self._machine.clock.sleep(hook["sleep"]["seconds"])
        elif hook.get("exec"):
            code, words = await self._execute(hook["exec"].get("command") or [], 3600.0)
            if code:
                self._tell("FailedPreStopHook", f"PreStopHook failed: {words}", warning=True)
        elif hook.get("httpGet"):
            asked = hook["httpGet"]
            url = f"http://{self._address}:{asked['port']}{asked.get('path', '/')}"
            with contextlib.suppress(OSError, TimeoutError):
                async with self._machine.session.get(url):
                    pass

    async def _execute(self, command: Sequence[str], timeout: float) -> tuple[int | None, str]:
        """Run a command beside the container, with its environment."""
        log = self._folder / "logs" / f"exec-{uuid.uuid4().hex}"
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            program = await self._machine.programs.process(
                command, self._env, self.spec.get("workingDir"), log
            )
        except StartError as error:
            return 126, str(error)
        try:
            async with asyncio.timeout(timeout):
                ended = await program.wait()
        except TimeoutError:
            program.kill()
            return None, ""
        finally:
            words = log.read_bytes()[-_TAIL:].decode(errors="replace").strip()
            log.unlink(missing_ok=True)
        return ended.code, words

    def _tell(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._machine.events.tell(
            self._pod(),
            reason,
            message,
            source="kubelet",
            warning=warning,
            container=self.state.name,
            host=self._pod()["spec"]["nodeName"],
        )
