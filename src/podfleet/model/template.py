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
    check_container_name,
    check_labels,
    check_node_labels,
    check_slots,
)
from podfleet.model.plain import check_text, each, plain_mapping
from podfleet.model.pod import read_pod, without_nulls
from podfleet.model.port import Port
from podfleet.model.quantity import check_resources

__all__ = ["GameServerTemplate"]

_VOLUME = "podfleet"


_RESOURCES = "{'requests': {'cpu': '500m'}}"


def _plain_pod(pod: Any) -> dict[str, Any] | None:
    """Return the escape hatch as plain JSON: a dict as it is, a `V1Pod` by its aliases."""
    if pod is None:
        return None
    if hasattr(pod, "model_dump") and not isinstance(pod, type):
        # kubernetes' V1Pod is a pydantic model since 36
        pod = pod.model_dump(mode="json", by_alias=True, exclude_none=True)
    return read_pod("GameServerTemplate.pod", pod)


def _env(value: object) -> Mapping[str, str]:
    return MappingProxyType(plain_mapping("GameServerTemplate.env", value, "{'MAP': 'desert'}"))


def _resources(value: object) -> Mapping[str, Mapping[str, Any]]:
    copied = plain_mapping("GameServerTemplate.resources", value, _RESOURCES)
    found = without_nulls("GameServerTemplate.resources", copied)
    return MappingProxyType(found)


def _node_selector(value: object) -> Mapping[str, str]:
    like = "{'disk': 'ssd'}"
    return MappingProxyType(plain_mapping("GameServerTemplate.node_selector", value, like))


def _labels(value: object) -> Mapping[str, str]:
    return MappingProxyType(plain_mapping("GameServerTemplate.labels", value, "{'app': 'arena'}"))


def _annotations(value: object) -> Mapping[str, str]:
    like = "{'acme.com/owner': 'games'}"
    return MappingProxyType(plain_mapping("GameServerTemplate.annotations", value, like))


def _ports(value: Iterable[Port] | None) -> tuple[Port, ...]:
    return each("GameServerTemplate.ports", value, "[Port('game', 7777)]")


def _tolerations(value: Iterable[Mapping[str, Any]] | None) -> tuple[Mapping[str, Any], ...]:
    like = "[{'key': 'games', 'operator': 'Exists'}]"
    given = each("GameServerTemplate.tolerations", value, like)
    return tuple(
        without_nulls(where, plain_mapping(where, toleration, like[1:-1]))
        for at, toleration in enumerate(given)
        for where in [f"GameServerTemplate.tolerations[{at}]"]
    )


def _argv(name: str, value: Iterable[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    field_name = f"GameServerTemplate.{name}"
    return tuple(
        check_text(f"{field_name}[{at}]", word)
        for at, word in enumerate(each(field_name, value, "['/server', '--map=desert']"))
    )


def _command(value: Iterable[str] | None) -> tuple[str, ...] | None:
    return _argv("command", value)


def _args(value: Iterable[str] | None) -> tuple[str, ...] | None:
    return _argv("args", value)


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
        resources: ``{"requests": {"cpu": "500m"}, "limits": {"memory": "256Mi"}}``: quantities as
            Kubernetes writes them, which may be numbers.
        node_selector: Labels that a node must have.
        tolerations: Taints that are tolerated, as Kubernetes writes them.
        labels: Labels for every Pod. Keys under ``podfleet.dev/`` are podfleet's own.
        annotations: Annotations for every Pod, likewise.
        slots: How many slots a server has, if several sessions are to share it: players, or
            matches. By default a server has one session at a time.
        pod: A Pod manifest (dict or kubernetes ``V1Pod``) to start from: probes, volumes,
            sidecars, security context. A null (``None``) is a field that is not set.
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
    env: Mapping[str, str] = field(factory=dict, converter=_env)
    command: tuple[str, ...] | None = field(default=None, converter=_command)
    args: tuple[str, ...] | None = field(default=None, converter=_args)
    resources: Mapping[str, Mapping[str, Any]] = field(factory=dict, converter=_resources)
    node_selector: Mapping[str, str] = field(factory=dict, converter=_node_selector)
    tolerations: tuple[Mapping[str, Any], ...] = field(default=(), converter=_tolerations)
    labels: Mapping[str, str] = field(factory=dict, converter=_labels)
    annotations: Mapping[str, str] = field(factory=dict, converter=_annotations)
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
            where = f"GameServerTemplate.env[{key!r}]"
            # What Kubernetes takes (IsEnvVarName, relaxed): printable ASCII but '='.
            if not key or "=" in key or not (key.isascii() and key.isprintable()):
                raise ConfigurationError(
                    "GameServerTemplate.env", key, "a name must be printable, without '='"
                )
            if "\0" in check_text(where, text):
                raise ConfigurationError(where, text, "no program can be given a NUL character")

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
        check_container_name("GameServerTemplate.container", value)
        containers = ((self.pod or {}).get("spec") or {}).get("containers") or []
        known = [one.get("name") for one in containers if isinstance(one, Mapping)]
        if known and value not in known:
            raise ConfigurationError(
                "GameServerTemplate.container",
                value,
                f"pod.spec.containers has no container of this name, only: "
                f"{', '.join(map(str, known))}; init containers and sidecars do not count",
            )

    @resources.validator
    def _check_resources(self, _: Attribute[Any], value: Mapping[str, Any]) -> None:
        check_resources("GameServerTemplate.resources", value)

    @node_selector.validator
    def _check_node_selector(self, _: Attribute[Any], value: Mapping[str, str]) -> None:
        check_node_labels("GameServerTemplate.node_selector", value)

    def __attrs_post_init__(self) -> None:
        image = self.image if self.image is not None else _server(self.to_pod()).get("image")
        if not isinstance(image, str) or not image.strip() or image != image.strip():
            raise ConfigurationError(
                "GameServerTemplate.image",
                image,
                "must name a container image: 'ghcr.io/acme/arena:1'",
            )
        check_text("GameServerTemplate.image", image)

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
        if any(one.get("name") == _VOLUME for one in volumes) or any(
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
