"""What the kubelet says about the containers of a Pod that is not ready."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from podfleet.model import Diagnosis, Manifest, Verdict
from podfleet.model.container import container_name, has_ended, is_restarted_after
from podfleet.waiters.evidence import about
from podfleet.waiters.lenient import mapping, mappings, number, text
from podfleet.waiters.probes import failing_probe, killed_by_probe, where
from podfleet.waiters.pulls import failed_pull, pull_cause

__all__ = ["Container", "containers", "crash", "last_exit", "unready"]

# pkg/kubelet/images/types.go and k8s.io/cri-api/pkg/errors
_PULL_FAILURES = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
# pkg/kubelet/kuberuntime/kuberuntime_container.go and pkg/kubelet/container/sync_result.go
_START_FAILURES = frozenset(
    {
        "CreateContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
        "RunContainerError",
    }
)
# What the kubelet mends by itself: a cache that is not filled yet, a slow container runtime.
_PASSING = ("timed out waiting for the condition", "deadline exceeded", "is reserved for")
# The words of runtimes for a command that cannot be run at all: another try will not help.
_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
_SIGNALS = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}


@frozen
class Container:
    """One container of a Pod: what was asked for, and what the kubelet shows."""

    name: str
    kind: str
    spec: Manifest
    status: Manifest
    pod: Manifest

    @property
    def who(self) -> str:
        """Return how a sentence names it."""
        return f"{self.kind} {self.name!r}"

    @property
    def image(self) -> str:
        """Return the image that was asked for."""
        return text(self.spec, "image") or text(self.status, "image")

    @property
    def is_server(self) -> bool:
        """Return whether it is the game server's."""
        return self.kind == "container" and self.name == container_name(self.pod)

    def restarts_after(self, code: int | None) -> bool:
        """Return whether the kubelet starts it again after it has ended with that exit code."""
        policy = text(self.pod, "spec", "restartPolicy")
        if self.kind == "init container" and policy == "Always":
            policy = "OnFailure"  # one that succeeded is done
        return is_restarted_after(self.spec, policy, code)

    @property
    def memory_limit(self) -> str:
        """Return its memory limit, or the Pod's, as written: ``64Mi``."""
        return text(self.spec, "resources", "limits", "memory") or text(
            self.pod, "spec", "resources", "limits", "memory"
        )


def containers(pod: Manifest) -> list[Container]:
    """Return the containers that the kubelet shows, init containers and sidecars first."""
    found = []
    for kind, specs, statuses in (
        ("init container", "initContainers", "initContainerStatuses"),
        ("container", "containers", "containerStatuses"),
    ):
        by_name = {text(spec, "name"): spec for spec in mappings(pod, "spec", specs)}
        for status in mappings(pod, "status", statuses):
            name = text(status, "name")
            spec = by_name.get(name, {})
            # An init container that is always restarted is a sidecar: it runs beside the others.
            sidecar = specs == "initContainers" and text(spec, "restartPolicy") == "Always"
            found.append(Container(name, "sidecar" if sidecar else kind, spec, status, pod))
    return found


def unready(container: Container, events: Sequence[Manifest]) -> Diagnosis | None:
    """Return what keeps one container from being ready, or ``None`` if nothing does."""
    events = about(events, container.name)
    state = mapping(container.status, "state")
    waiting, ended = mapping(state, "waiting"), mapping(state, "terminated")
    if ended:
        return _ended(container, ended, events)
    if "running" in state:
        return _running(container, events)
    reason, message = text(waiting, "reason"), text(waiting, "message")
    if reason == "CrashLoopBackOff":
        last = mapping(container.status, "lastState", "terminated")
        return crash(container, last, events, reason=reason, message=message)
    return _waiting(container, reason, message, events)


def crash(
    container: Container,
    ended: Manifest,
    events: Sequence[Manifest] = (),
    *,
    reason: str,
    message: str = "",
    final: bool = False,
) -> Diagnosis:
    """Return what ended a container: memory, a probe, or its own doing.

    Args:
        container: The container.
        ended: Its ``terminated`` state.
        events: The events about it.
        reason: The cluster's word, unless a better one is found.
        message: The cluster's message, if the container left none.
        final: Whether it stays ended.
    """
    cause, message = text(ended, "reason"), text(ended, "message") or message
    better, what, advice = _ending(container, ended, events)
    verdict = Verdict.FAILED if final else Verdict.FAILING
    if cause in _NEVER_RAN:
        what = f"{what}: {message}"
        verdict = Verdict.FAILED if final else _unless_passing(message)
    diagnosis = _about(
        container, verdict, better or reason, f"{container.who} {what}: {advice}", message
    )
    return evolve(diagnosis, exit_code=number(ended, "exitCode"))


def last_exit(pod: Manifest, events: Sequence[Manifest] = ()) -> Diagnosis | None:
    """Return what ended the server's latest run that has ended; ``None`` if none has.

    Args:
        pod: The Pod.
        events: Its events, if they were read.
    """
    for one in containers(pod):
        if one.is_server:
            ended = mapping(one.status, "state", "terminated") or mapping(
                one.status, "lastState", "terminated"
            )
            if ended:
                reason = text(ended, "reason") or "Error"
                said = about(events, one.name)
                return crash(one, ended, said, reason=reason, final=has_ended(pod))
    return None


def _ending(
    container: Container, ended: Manifest, events: Sequence[Manifest]
) -> tuple[str, str, str]:
    """Return the word for what ended a container (if there is one), what it was, what helps."""
    cause, code = text(ended, "reason"), number(ended, "exitCode")
    if cause == "OOMKilled":
        limit = container.memory_limit
        if limit:
            what = f"used more than its memory limit of {limit} and was killed (exit code {code})"
            return cause, what, "raise the limit or use less memory"
        what = f"was killed because the node ran out of memory (exit code {code})"
        return cause, what, "set a memory request and limit"
    if cause in _NEVER_RAN:
        return cause, "cannot be started", "check its command"
    deleted = mapping(container.pod, "metadata").get("deletionTimestamp")
    probe = "" if deleted else killed_by_probe(ended, events)
    if probe:
        what = f"was killed since its {probe} probe failed{where(container.spec, probe)}"
        return "Unhealthy", what, "mend what the probe asks, or give it more time"
    restarts = number(container.status, "restartCount") or 0
    often = f" (restarted {restarts} times)" if restarts > 1 else ""
    return "", f"{_exit(code)}{often}", "read its log"


def _ended(container: Container, ended: Manifest, events: Sequence[Manifest]) -> Diagnosis | None:
    code = number(ended, "exitCode")
    if code == 0 and container.kind == "init container":
        return None
    stays = not container.restarts_after(code)
    reason = text(ended, "reason") or "Error"
    if not stays and reason == "Error" and number(container.status, "restartCount"):
        reason = "CrashLoopBackOff"  # the moment between a crash and the kubelet's word for it
    return crash(container, ended, events, reason=reason, final=stays)


def _running(container: Container, events: Sequence[Manifest]) -> Diagnosis | None:
    status = container.status
    if container.kind == "init container":
        summary = f"{container.who} is still at work; the others start when it has ended"
        return _about(container, Verdict.WAITING, "PodInitializing", summary)
    if status.get("ready") is True:
        return None
    last = mapping(status, "lastState", "terminated")
    if last:
        # It is given another try: that it crashed before is said, not held against it.
        better, what, _ = _ending(container, last, events)
        reason = better or text(last, "reason") or "Error"
        summary = f"{container.who} {what}; it runs again but is not ready yet"
        waits = _about(container, Verdict.WAITING, reason, summary, text(last, "message"))
        return evolve(waits, exit_code=number(last, "exitCode"))
    starting = status.get("started") is False and bool(container.spec.get("startupProbe"))
    kind, message = failing_probe(events) or ("startup" if starting else "readiness", "")
    probe = f"{kind} probe{where(container.spec, kind)}"
    if message:
        summary = f"{container.who} runs, but its {probe} fails: {message}: mend what it asks"
        return _about(container, Verdict.WAITING, "Unhealthy", summary, message)
    summary = f"{container.who} runs, but there is no readiness yet: it waits for its {probe}"
    return _about(container, Verdict.WAITING, "ContainersNotReady", summary)


def _waiting(
    container: Container, reason: str, message: str, events: Sequence[Manifest]
) -> Diagnosis:
    who, image = container.who, container.image
    node = text(container.pod, "spec", "nodeName")
    if reason == "InvalidImageName":
        summary = f"{image!r}, the image of {who}, is no valid image name: correct it"
        return _about(container, Verdict.FAILED, reason, summary, message)
    if reason == "ErrImageNeverPull":
        summary = (
            f"the image {image!r} of {who} is not on node {node} and imagePullPolicy is Never: "
            "load it onto every node, or allow it to be pulled"
        )
        return _about(container, Verdict.FAILED, reason, summary, message)
    if reason == "CreateContainerConfigError":
        summary = f"{who} cannot be configured: {message}: provide it, or correct the template"
        return _about(container, _unless_passing(message), reason, summary, message)
    if reason in _START_FAILURES:
        summary = f"{who} cannot be started: {message}: check its command, mounts and rights"
        return _about(container, _unless_passing(message), reason, summary, message)
    if reason in _PULL_FAILURES:
        return _about(container, Verdict.FAILING, reason, _unpulled(container, message), message)
    failed = failed_pull(events)
    if failed:
        # Between two tries the state reads ContainerCreating: only the event holds the cause.
        return _about(
            container, Verdict.FAILING, "ErrImagePull", _unpulled(container, failed), failed
        )
    reason = reason or "ContainerCreating"
    place = f" on node {node}" if node else ""
    doing = {
        "ContainerCreating": "is being created",
        "PodInitializing": "waits for the init containers",
    }.get(reason, f"waits ({reason})")
    return _about(container, Verdict.WAITING, reason, f"{who} {doing}{place}", message)


def _unless_passing(message: str) -> Verdict:
    passing = any(words in message for words in _PASSING)
    return Verdict.FAILING if passing else Verdict.FAILED


def _unpulled(container: Container, message: str) -> str:
    image, who = container.image, container.who
    return f"the image {image!r} of {who} cannot be pulled: {pull_cause(message)}"


def _exit(code: int | None) -> str:
    if code is None:
        return "ended"
    if code == 0:
        return "ended by itself (exit code 0), but a server has to keep running"
    known = {
        126: " (its command cannot be executed)",
        127: " (its command was not found)",
        137: " (SIGKILL: the node ran out of memory, or it did not stop when asked)",
    }
    signal = _SIGNALS.get(code - 128)
    return f"exited with code {code}{known.get(code, f' ({signal})' if signal else '')}"


def _about(
    container: Container, verdict: Verdict, reason: str, summary: str, message: str = ""
) -> Diagnosis:
    return Diagnosis(
        verdict=verdict,
        reason=reason,
        summary=summary,
        message=message,
        container=container.name,
    )
