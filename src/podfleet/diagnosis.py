"""`Diagnosis`: why a server is not ready, in words."""

from __future__ import annotations

from enum import Enum

from attrs import evolve, frozen

__all__ = ["Diagnosis", "Verdict"]


class Verdict(Enum):
    """What a diagnosis means for somebody who waits."""

    WAITING = "waiting"
    """Nothing is wrong yet, or only time will tell: wait until the timeout."""

    FAILING = "failing"
    """It fails and is retried by the cluster: give it a grace, then give up."""

    FAILED = "failed"
    """It will not get better: give up at once."""


@frozen(kw_only=True)
class Diagnosis:
    """Why a server is not ready.

    Args:
        verdict: Whether waiting can help.
        reason: The cluster's own word: ``"CrashLoopBackOff"``, ``"Unschedulable"``.
        summary: One sentence that says what is wrong and what to do.
        message: The cluster's own message, as it stands.
        container: The container that it is about, or ``None`` for the whole Pod.
        exit_code: With which code that container ended, if it did.
        events: The Pod's warnings, oldest first: ``"Failed: Error: configmap ... not found"``.
        log: The last lines that the container wrote, oldest first.

    Example:
        >>> print(Diagnosis(verdict=Verdict.FAILED, reason="Evicted", summary="The node ran out."))
        Evicted: The node ran out.
    """

    verdict: Verdict
    reason: str
    summary: str
    message: str = ""
    container: str | None = None
    exit_code: int | None = None
    events: tuple[str, ...] = ()
    log: tuple[str, ...] = ()

    def with_evidence(self, *, events: tuple[str, ...], log: tuple[str, ...]) -> Diagnosis:
        """Return the same diagnosis with the events and the log lines that were found."""
        return evolve(self, events=events, log=log)

    def __str__(self) -> str:
        """Return the reason and the summary, then message, events and log, a line each.

        An event that says the message again is left out.
        """
        lines = [f"{self.reason}: {self.summary}"]
        if self.message and self.message not in self.summary:
            lines.append(f"  message: {self.message}")
        told = self.message or None
        lines += [f"  event: {event}" for event in self.events if not (told and told in event)]
        lines += [f"  log: {line}" for line in self.log]
        return "\n".join(lines)
