"""`GameServerTemplate`: what every server of a fleet is made of."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ConfigurationError
from podfleet.gameserver import FOLDER
from podfleet.model.container import SERVER, container_name
from podfleet.model.names import (
    CONTAINER,
    SLOTS,
    check_annotations,
    check_labels,
    check_namespace,
    check_slots,
)
from podfleet.model.port import Port

__all__ = ["GameServerTemplate"]

_VOLUME = "podfleet"


def _plain_pod(pod: Any) -> dict[str, Any] | None:
    """Return the escape hatch as plain JSON: a dict as it is, a `V1Pod` by its aliases."""
    if pod is None:
        return None
    if isinstance(pod, Mapping):
        return copy.deepcopy(dict(pod))
    if hasattr(pod, "model_dump"):  # kubernetes' V1Pod is a pydantic model since 36
        dumped: dict[str, Any] = pod.model_dump(mode="json", by_alias=True, exclude_none=True)
        return dumped
    raise ConfigurationError(
        "GameServerTemplate.pod", type(pod).__name__, "must be a dict or a kubernetes V1Pod"
    )


def _mapping(value: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return MappingProxyType(copy.deepcopy(dict(value or {})))


def _ports(value: Iterable[Port]) -> tuple[Port, ...]:
    return tuple(value)


def _tolerations(value: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(copy.deepcopy(dict(toleration)) for toleration in value)


def _argv(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if isinstance(value, str):
        raise ConfigurationError(
            "GameServerTemplate.command", value, "must be a list of strings, not one string"
        )
    return None if value is None else tuple(value)


@frozen(kw_only=True)
class GameServerTemplate:
    """What every server of a fleet is made of.

    The template becomes a Pod. What the fields do not cover goes into ``pod``, any Pod
    manifest, on top of which the fields are laid; it reaches the API server as it is, fields
    that this version of the client does not know included.

    Args:
        image: The container image. May be left out only if ``pod`` names one.
        ports: What the server listens on, the main one first.
        env: Environment variables, name to value.
        command: Replaces the image's entrypoint.
        args: Replaces the image's arguments.
        resources: ``{"requests": {"cpu": "500m"}, "limits": {"memory": "256Mi"}}``.
        node_selector: Labels that a node must have.
        tolerations: Taints that are tolerated, as Kubernetes writes them.
        labels: Labels for every Pod. Keys under ``podfleet.dev/`` are podfleet's own.
        annotations: Annotations for every Pod, likewise.
        slots: How many slots a server has, if several sessions are to share it: players, or
            matches. By default a server has one session at a time.
        pod: A Pod manifest (dict or kubernetes ``V1Pod``) to start from: probes, volumes,
            sidecars, security context.
        container: Which container of ``pod`` is the game server: its fields are set from this
            template, and its exit ends the match, whatever else runs in the Pod. By default the
            container named ``server``, else the first one.

    Raises:
        ConfigurationError: A field that Kubernetes would refuse, named with its value.

    Example:
        >>> template = GameServerTemplate(
        ...     image="ghcr.io/acme/arena:1.4", ports=[Port("game", 7777, "UDP")]
        ... )
        >>> template.to_pod()["spec"]["containers"][0]["ports"]
        [{'name': 'game', 'containerPort': 7777, 'protocol': 'UDP'}]
    """

    image: str | None = field(default=None)
    ports: tuple[Port, ...] = field(default=(), converter=_ports)
    env: Mapping[str, str] = field(factory=dict, converter=_mapping)
    command: tuple[str, ...] | None = field(default=None, converter=_argv)
    args: tuple[str, ...] | None = field(default=None, converter=_argv)
    resources: Mapping[str, Mapping[str, str]] = field(factory=dict, converter=_mapping)
    node_selector: Mapping[str, str] = field(factory=dict, converter=_mapping)
    tolerations: tuple[Mapping[str, Any], ...] = field(default=(), converter=_tolerations)
    labels: Mapping[str, str] = field(factory=dict, converter=_mapping)
    annotations: Mapping[str, str] = field(factory=dict, converter=_mapping)
    slots: int | None = field(default=None)
    pod: Mapping[str, Any] | None = field(default=None, converter=_plain_pod, repr=False)
    container: str | None = field(default=None)

    @slots.validator
    def _check_slots(self, _: Attribute[int | None], value: int | None) -> None:
        if value is not None:
            check_slots("GameServerTemplate.slots", value)

    @ports.validator
    def _check_ports(self, _: Attribute[tuple[Port, ...]], value: Sequence[Port]) -> None:
        for kind in ("name", "number"):
            seen: set[object] = set()
            for port in value:
                if not isinstance(port, Port):
                    raise ConfigurationError("GameServerTemplate.ports", port, "must be a Port")
                # One number may serve TCP and UDP under two names.
                keys = (
                    {port.name}
                    if kind == "name"
                    else {(port.number, transport) for transport in port.protocol.transports}
                )
                if keys & seen:
                    raise ConfigurationError(
                        "GameServerTemplate.ports",
                        getattr(port, kind),
                        f"two ports have this {kind}: each needs its own",
                    )
                seen |= keys

    @env.validator
    def _check_env(self, _: Attribute[Mapping[str, str]], value: Mapping[str, str]) -> None:
        for key, text in value.items():
            # What Kubernetes takes (IsEnvVarName, relaxed): printable ASCII but '='.
            if (
                not isinstance(key, str)
                or not key
                or "=" in key
                or not (key.isascii() and key.isprintable())
            ):
                raise ConfigurationError(
                    "GameServerTemplate.env", key, "a name must be printable, without '='"
                )
            if not isinstance(text, str):
                raise ConfigurationError(
                    f"GameServerTemplate.env[{key!r}]", text, "must be a string"
                )

    @labels.validator
    def _check_labels(self, _: Attribute[Mapping[str, str]], value: Mapping[str, str]) -> None:
        check_labels("GameServerTemplate.labels", value)

    @annotations.validator
    def _check_annotations(self, _: Attribute[Mapping[str, str]], value: Mapping[str, str]) -> None:
        check_annotations("GameServerTemplate.annotations", value)

    @container.validator
    def _check_container(self, _: Attribute[str | None], value: str | None) -> None:
        if value is None:
            return
        check_namespace("GameServerTemplate.container", value)  # the same rule: RFC 1123
        containers = ((self.pod or {}).get("spec") or {}).get("containers") or []
        known = [one.get("name") for one in containers if isinstance(one, Mapping)]
        if known and value not in known:
            raise ConfigurationError(
                "GameServerTemplate.container",
                value,
                f"pod.spec.containers has no container of this name, only: "
                f"{', '.join(map(str, known))}; init containers and sidecars do not count",
            )

    def __attrs_post_init__(self) -> None:
        image = self.image if self.image is not None else _server(self.to_pod()).get("image")
        if not isinstance(image, str) or not image.strip() or image != image.strip():
            raise ConfigurationError(
                "GameServerTemplate.image",
                image,
                "must name a container image: 'ghcr.io/acme/arena:1'",
            )

    def to_pod(self) -> dict[str, Any]:
        """Return the Pod manifest, without a name: a fresh dict that the caller may change."""
        pod = copy.deepcopy(dict(self.pod or {}))
        pod["apiVersion"], pod["kind"] = "v1", "Pod"
        metadata = pod.setdefault("metadata", {})
        for key, given in (("labels", self.labels), ("annotations", self.annotations)):
            if given:
                metadata[key] = {**(metadata.get(key) or {}), **given}
        own = {
            key: str(value)
            for key, value in ((SLOTS, self.slots), (CONTAINER, self.container))
            if value is not None
        }
        if own:
            metadata["annotations"] = {**(metadata.get("annotations") or {}), **own}
        spec = pod.setdefault("spec", {})
        # A finished match is over: the default, Always, would start an empty one in its place.
        spec.setdefault("restartPolicy", "Never")
        if self.node_selector:
            spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **self.node_selector}
        if self.tolerations:
            spec["tolerations"] = [
                *(spec.get("tolerations") or []),
                *(dict(toleration) for toleration in self.tolerations),
            ]
        self._fill_container(_server(pod, self.container))
        return pod

    @staticmethod
    def tell(pod: dict[str, Any]) -> None:
        """Have a Pod's game container read its own labels and annotations as files.

        The kubelet writes them anew when they change (downward API): so a server learns that it
        is allocated. A volume or mount of the user's in that place stays.
        """
        spec, container = pod["spec"], _server(pod)
        volumes = spec.setdefault("volumes", [])
        mounts = container.setdefault("volumeMounts", [])
        if any(one["name"] == _VOLUME for one in volumes) or any(
            one["mountPath"] == FOLDER for one in mounts
        ):
            return
        items = [
            {"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.{path}"}}
            for path in ("labels", "annotations")
        ]
        volumes.append({"name": _VOLUME, "downwardAPI": {"items": items}})
        mounts.append({"name": _VOLUME, "mountPath": FOLDER})

    def _fill_container(self, container: dict[str, Any]) -> None:
        if self.image is not None:
            container["image"] = self.image
        if self.command is not None:
            container["command"] = list(self.command)
        if self.args is not None:
            container["args"] = list(self.args)
        if self.resources:
            container["resources"] = copy.deepcopy(dict(self.resources))
        if self.env:
            kept = [item for item in container.get("env") or [] if item["name"] not in self.env]
            container["env"] = kept + [{"name": k, "value": v} for k, v in self.env.items()]
        if self.ports:
            own = {
                (port.number, transport): name
                for port in self.ports
                for transport, name in port.container_names.items()
            }
            kept = [
                item
                for item in container.get("ports") or []
                if (item.get("containerPort"), item.get("protocol", "TCP")) not in own
            ]
            container["ports"] = kept + [
                {"name": name, "containerPort": number, "protocol": transport}
                for (number, transport), name in own.items()
            ]


def _server(pod: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    """Return the container that runs the game server; add one if the Pod has none.

    Args:
        pod: The Pod.
        name: What to call it then.
    """
    containers: list[dict[str, Any]] = pod["spec"].setdefault("containers", [])
    if not containers:
        containers.append({"name": name or SERVER})
    own = container_name(pod)
    return next((one for one in containers if one.get("name") == own), containers[0])
