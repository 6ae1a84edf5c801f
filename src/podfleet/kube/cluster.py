"""`Cluster`: which cluster, and as whom: the official client's configuration."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from attrs import Attribute, field, frozen
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import incluster_config, kube_config
from kubernetes.aio.config.config_exception import ConfigException

from podfleet.errors import ConfigurationError
from podfleet.model.names import check_namespace
from podfleet.model.plain import check_flag, check_text

__all__ = ["Cluster", "Connection"]

_SERVICE_ACCOUNT = Path(incluster_config.SERVICE_TOKEN_FILENAME).parent


@frozen
class Connection:
    """A loaded configuration.

    Args:
        configuration: The official client's configuration, its authentication included.
        namespace: The namespace to use where the caller names none.
    """

    configuration: Any
    namespace: str


@frozen(kw_only=True)
class Cluster:
    """Which cluster to talk to, and as whom.

    Without arguments, as the usual tools do it: the file named by ``KUBECONFIG``; else, inside
    a Pod, its service account; else ``~/.kube/config``.

    Args:
        kubeconfig: A kubeconfig file.
        context: A context of that file; by default its current one.
        in_cluster: Use the Pod's own service account.
        client: An ``ApiClient`` of the official client, sync or aio: its configuration is used
            (server, credentials, TLS), over connections of podfleet's own.
        namespace: The namespace to use where the caller names none; by default the context's,
            or the service account's.

    Raises:
        ConfigurationError: A wrong argument, or arguments that exclude each other.

    Example:
        >>> Cluster(context="production").context
        'production'
    """

    kubeconfig: str | os.PathLike[str] | None = field(default=None)
    context: str | None = field(default=None)
    in_cluster: bool = field(default=False)
    client: Any = field(default=None, repr=False)
    namespace: str | None = field(default=None)

    @kubeconfig.validator
    def _check_kubeconfig(self, _: Attribute[Any], value: object) -> None:
        path = value
        if isinstance(value, os.PathLike):
            path = os.fspath(value)
        if path is not None and (not isinstance(path, str) or not path or "\0" in path):
            raise ConfigurationError("Cluster.kubeconfig", value, "must be the path of a file")

    @context.validator
    def _check_context(self, _: Attribute[Any], value: object) -> None:
        if value is not None and not check_text("Cluster.context", value):
            raise ConfigurationError("Cluster.context", value, "must be a context's name")

    @in_cluster.validator
    def _check_in_cluster(self, _: Attribute[Any], value: object) -> None:
        check_flag("Cluster.in_cluster", value)

    @namespace.validator
    def _check_namespace(self, _: Attribute[Any], value: object) -> None:
        if value is not None:
            check_namespace("Cluster.namespace", value)

    @client.validator
    def _check_client(self, _: Attribute[Any], value: Any) -> None:
        if value is not None and not hasattr(value, "configuration"):
            raise ConfigurationError(
                "Cluster.client", type(value).__name__, "must be an ApiClient of `kubernetes`"
            )

    def __attrs_post_init__(self) -> None:
        file = self.kubeconfig is not None or self.context is not None
        if sum([file, self.in_cluster, self.client is not None]) > 1:
            raise ConfigurationError(
                "Cluster", self, "takes only one of kubeconfig/context, in_cluster and client"
            )

    async def load(self) -> Connection:
        """Read the configuration; call again for fresh credentials.

        Raises:
            ConfigurationError: There is none, or it cannot be read.
        """
        try:
            connection = await self._load()
        except (ConfigException, OSError) as error:
            raise ConfigurationError(
                "Cluster", self._where(), f"cannot be used: {error}: name another, or mend it"
            ) from error
        configuration = connection.configuration
        # podfleet owns the retries, and reads proxy settings once: aiohttp's trust_env would
        # look through the environment and ~/.netrc on every request.
        configuration.retries = None
        configuration.client_session_kwargs = {"trust_env": False}
        if not configuration.proxy:
            configuration.proxy = _environment_proxy(configuration.host)
        return connection

    async def _load(self) -> Connection:
        if self.client is not None:
            configuration = _adopt(self.client.configuration)
            return Connection(configuration, self.namespace or "default")
        configuration = type.__call__(Configuration)
        if self.in_cluster or (not self._names_file() and _inside_pod()):
            incluster_config.load_incluster_config(client_configuration=configuration)
            own = (_SERVICE_ACCOUNT / "namespace").read_text().strip()
            return Connection(configuration, self.namespace or own)
        loader = await kube_config.load_kube_config(
            config_file=self._file(),
            context=self.context,
            client_configuration=configuration,
            persist_config=False,
        )
        context = loader.current_context["context"]
        return Connection(configuration, self.namespace or context.get("namespace") or "default")

    def _names_file(self) -> bool:
        explicit = self.kubeconfig is not None or self.context is not None
        return explicit or bool(os.environ.get("KUBECONFIG"))

    def _file(self) -> str:
        """Return the kubeconfig's path, or several as ``KUBECONFIG`` lists them."""
        listed = os.environ.get("KUBECONFIG") or "~/.kube/config"
        if self.kubeconfig is not None:
            listed = os.fspath(self.kubeconfig)
        files = [os.path.expanduser(file) for file in listed.split(os.pathsep) if file]
        # The client passes over what is missing, and then misses the current context.
        if not any(map(os.path.exists, files)):
            raise ConfigurationError(
                "Cluster.kubeconfig", listed, "does not exist: name a kubeconfig file"
            )
        return os.pathsep.join(files)

    def _where(self) -> str:
        if self.client is not None:
            return "client"
        return "in-cluster" if self.in_cluster else self._file()


def _inside_pod() -> bool:
    return bool(os.environ.get(incluster_config.SERVICE_HOST_ENV_NAME)) and (
        Path(incluster_config.SERVICE_TOKEN_FILENAME).is_file()
    )


def _adopt(given: Any) -> Any:
    """Return an aio configuration with the connection settings of any `ApiClient`'s."""
    configuration = type.__call__(Configuration)
    for name in (
        "host",
        "api_key",
        "api_key_prefix",
        "refresh_api_key_hook",
        "username",
        "password",
        "verify_ssl",
        "disable_strict_ssl_verification",
        "ssl_ca_cert",
        "ca_cert_data",
        "cert_file",
        "key_file",
        "tls_server_name",
        "proxy",
        "proxy_headers",
    ):
        if hasattr(given, name):
            setattr(configuration, name, copy.copy(getattr(given, name)))
    return configuration


def _environment_proxy(host: str) -> str | None:
    url = urlsplit(host)
    if not url.hostname or proxy_bypass(url.hostname):
        return None
    return getproxies().get(url.scheme)
