"""`ExposureStrategy`: how clients reach one server. The fleet acts; a strategy only answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from attrs import Attribute, field, frozen

from podfleet.errors import ApiError, ConfigurationError, PodfleetError
from podfleet.model import Endpoint, GameServerTemplate, Manifest, Port
from podfleet.model.names import check_namespace, check_subdomain
from podfleet.model.plain import check_flag, check_text, plain_mapping
from podfleet.model.rules import Rule
from podfleet.ports import PortPool

__all__ = ["ClusterView", "ExposureStrategy", "Resource"]

_LIKE = "{'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'arena'}}"


@frozen
class Resource:
    """A Kubernetes object that a strategy wants, or wants to read.

    Args:
        plural: The resource's name in the API's paths: ``"services"``.
        manifest: The object, with ``apiVersion``, ``kind`` and ``metadata.name``; in the fleet's
            namespace unless ``metadata.namespace`` names another.
        exists: Whether somebody else makes it: then it is only read.

    Raises:
        ConfigurationError: The manifest lacks one of these, or is no JSON.

    Example:
        >>> Resource("services", {"apiVersion": "v1", "kind": "Service",
        ...                       "metadata": {"name": "arena-7xk2"}}).plural
        'services'
    """

    plural: str = field()
    manifest: Manifest = field(repr=False)
    exists: bool = field(default=False)

    @plural.validator
    def _check_plural(self, _: Attribute[Any], value: object) -> None:
        check_namespace("Resource.plural", value)  # the same letters

    @manifest.validator
    def _check_manifest(self, _: Attribute[Any], value: object) -> None:
        manifest = plain_mapping("Resource.manifest", value, _LIKE)
        for key in ("apiVersion", "kind"):
            check_text(f"Resource.manifest.{key}", manifest.get(key))
        metadata = plain_mapping("Resource.manifest.metadata", manifest.get("metadata"), "{}")
        check_subdomain("Resource.manifest.metadata.name", metadata.get("name"))
        if metadata.get("namespace") is not None:
            check_namespace("Resource.manifest.metadata.namespace", metadata["namespace"])

    @exists.validator
    def _check_exists(self, _: Attribute[Any], value: object) -> None:
        check_flag("Resource.exists", value)


@frozen(kw_only=True)
class ClusterView:
    """What the cluster shows about one server, beside its Pod.

    Args:
        node: The Node that the Pod runs on; ``None`` if the strategy does not read Nodes, or
            the client has no right to.
        objects: The server's own objects, as the API server shows them now, in the order of
            `ExposureStrategy.server_objects`; empty until all are there.
        shared: The fleet's shared objects, likewise, in the order of
            `ExposureStrategy.shared_objects`.
    """

    node: Manifest | None = None
    objects: tuple[Manifest, ...] = ()
    shared: tuple[Manifest, ...] = ()


class ExposureStrategy(ABC):
    """How clients reach one server.

    A strategy is pure: it turns a template and a Pod into manifests, and what the cluster shows
    into endpoints. The fleet does the writing, waiting and retrying. Write your own by
    overriding one or two methods; each default means "nothing of the kind".

    Attributes:
        pool: The pool that the fleet takes numbers from before it creates a Pod, or ``None``.
        shares_ports: Whether a number may be in use on several nodes at once (hostPorts may).
        reads_nodes: Whether `endpoints` needs the Node in its `ClusterView`.
        reads_shared: Whether `endpoints` reads the shared objects in its `ClusterView`: then they
            are shown as they are now, for a request more.
        resolves: Whether an endpoint's host must resolve, where the fleet runs, before its
            server is handed out.

    Example:
        >>> class PodAddress(ExposureStrategy):
        ...     '''Clients run in the cluster and dial the Pod's own address.'''
        ...
        ...     def endpoints(self, pod, template, view):
        ...         address = pod["status"].get("podIP")
        ...         return address and tuple(
        ...             Endpoint(address, port.number, port.protocol, port.name)
        ...             for port in template.ports
        ...         )
    """

    pool: PortPool | None = None
    shares_ports: bool = False
    reads_nodes: bool = False
    reads_shared: bool = True
    resolves: bool = False

    def check(self, template: GameServerTemplate) -> None:
        """Refuse a template that this strategy cannot expose: by default one without ports.

        Raises:
            ConfigurationError: Naming the field, its value and the reason.
        """
        if not template.ports:
            raise ConfigurationError(
                "GameServerTemplate.ports",
                (),
                f"{type(self).__name__} needs at least one port to expose",
            )

    def check_node(self, node: Manifest) -> None:  # noqa: B027  (by default any Node will do)
        """Refuse a Node on which servers could not be reached: asked by the preflight.

        Raises:
            ConfigurationError: Naming the node, what it has, and what to do.
        """

    def rules(self) -> tuple[Rule, ...]:
        """Return the rights needed beyond those of every fleet: for the printed Role.

        The right to read the shared objects is added by itself. A strategy with
        `server_objects` needs ``get`` and ``create`` on their kinds.
        """
        return ()

    def apis(self) -> tuple[str, ...]:
        """Return the APIs beyond Kubernetes' own that must be served: ``group/version``."""
        return ()

    def shared_objects(self, fleet: str, template: GameServerTemplate) -> tuple[Resource, ...]:
        """Return the objects that all servers of the fleet share.

        They are among what ``fleet.manifests()`` returns, for an administrator to apply; a
        fleet that starts and misses one makes it, if it has the right to.

        Args:
            fleet: The fleet's name.
            template: What its servers are made of.
        """
        return ()

    def ports_needed(self, template: GameServerTemplate) -> int:
        """Return how many numbers of the pool one server takes."""
        return 0

    def shape(  # noqa: B027  (by default the Pod stays as it is)
        self, pod: dict[str, Any], template: GameServerTemplate, numbers: tuple[int, ...]
    ) -> None:
        """Change the Pod before it is created.

        Args:
            pod: The manifest, named and labelled; changed in place. The Pods of a StatefulSet
                have no name yet: they share one shape.
            template: The template that it was made of.
            numbers: As many numbers of the pool as `ports_needed` said.
        """

    def server_objects(self, pod: Manifest, template: GameServerTemplate) -> tuple[Resource, ...]:
        """Return the objects of this one server, made after its Pod.

        The fleet gives each an ownerReference to the Pod, so that the cluster's own garbage
        collector removes it, even if no backend is left.
        """
        return ()

    def held_ports(self, pod: Manifest) -> tuple[int, ...]:
        """Return the numbers that this Pod holds: read from it, never remembered."""
        return ()

    @abstractmethod
    def endpoints(
        self, pod: Manifest, template: GameServerTemplate, view: ClusterView
    ) -> tuple[Endpoint, ...] | None:
        """Return what clients dial, one for each port of the template, or ``None``: not yet.

        A server with fewer is not handed out. Of a Pod of another template only the ports count
        that it declares.

        Args:
            pod: The Pod, as the API server shows it now. Ports are read back from it: some
                platforms rewrite them.
            template: The template, for the ports' names.
            view: What the cluster shows beside the Pod.

        Raises:
            ConfigurationError: No amount of waiting will give an endpoint.
        """

    def lacks(self, pod: Manifest, port: Port) -> str | None:
        """Return what a Pod lacks for good, so that this port cannot be reached; ``None``: nothing.

        Such a server is not handed out, and is deleted. It is asked of the Pods of the present
        template, as soon as they are created.

        Args:
            pod: The Pod.
            port: One of the template's ports.
        """
        return None

    def refused(self, answer: Manifest | ApiError) -> bool:
        """Return whether the cluster refused the chosen numbers: choose others.

        Args:
            answer: The Pod as it is now, or the error that a create ended with.
        """
        return False

    def failure(self, error: ApiError) -> PodfleetError:
        """Return what a caller should be told when an object of this strategy was refused.

        Args:
            error: What the API server said, of a create that is not `refused`.
        """
        return error
