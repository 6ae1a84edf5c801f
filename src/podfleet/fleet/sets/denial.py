"""`Denial`: why the controller of a StatefulSet could not create its Pods.

The StatefulSet itself passes: admission checks look at its Pods. Their refusal comes to its
controller, which tells it in an event.
"""

from __future__ import annotations

from attrs import frozen

from podfleet.errors import ApiError
from podfleet.kube import KubeClient
from podfleet.kube.admission import refused
from podfleet.kube.paths import object_path
from podfleet.model import Manifest
from podfleet.model.manifest import namespace_of, uid_of
from podfleet.waiters.evidence import by_age
from podfleet.waiters.lenient import text

__all__ = ["Denial", "denial_of", "has_all"]

_FAILED = " failed error: "  # pkg/controller/statefulset/stateful_pod_control.go


@frozen
class Denial:
    """What a Pod of a StatefulSet was refused for.

    Args:
        said: What the API server said to the controller.
        remedy: What to do about it.
        error: The class of error that it would be for a client of its own.
    """

    said: str
    remedy: str
    error: type[ApiError]

    def __str__(self) -> str:
        """Return it as a sentence, with what to do."""
        return f"{self.said.removesuffix('.')}. To do: {self.remedy}"


def has_all(found: Manifest) -> bool:
    """Return whether a StatefulSet has all its Pods: none of them was refused."""
    wanted, shown = found["spec"].get("replicas", 1), found.get("status") or {}
    return bool(wanted <= shown.get("replicas", 0))


async def denial_of(client: KubeClient, found: Manifest) -> Denial | None:
    """Return what the next Pod of a StatefulSet was refused for last, by its events.

    Args:
        client: The transport.
        found: The StatefulSet, as it was read; it has not all its Pods.

    Raises:
        ApiError: Its events cannot be read.
    """
    namespace = namespace_of(found)
    listed = await client.get(
        object_path("v1", "events", namespace),
        {"fieldSelector": f"involvedObject.uid={uid_of(found)}"},
    )
    for event in reversed(by_age(listed["items"])):
        if text(event, "reason") == "SuccessfulCreate":
            return None
        said = text(event, "message").partition(_FAILED)[2]
        if text(event, "reason") == "FailedCreate" and said:
            known = refused(403, said, {}, namespace)
            return Denial(said, known.remedy, known.error) if known else None
    return None
