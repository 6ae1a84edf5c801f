"""`Cluster`: which cluster, and as whom: the official client's configuration."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import time
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from attrs import Attribute, field, frozen
from kubernetes.aio.config import incluster_config

from podfleet.errors import ConfigurationError
from podfleet.kube.configured import Configured, configured, in_cluster
from podfleet.kube.expiry import certificate_ends, renewal_due, token_ends
from podfleet.kube.kubeconfig import Stamp, read, stamp_of
from podfleet.model.names import check_namespace
from podfleet.model.plain import check_flag, check_text

__all__ = ["Cluster", "Connection", "Identity"]

_TLS = (
    "verify_ssl",
    "disable_strict_ssl_verification",
    "ca_cert_data",
    "tls_server_name",
    "proxy",
    "proxy_headers",
)
_TLS_FILES = ("ssl_ca_cert", "cert_file", "key_file")


@frozen
class Identity:
    """What a connection is made with: the same serve while this is the same.

    Args:
        host: The API server's URL.
        rest: How it is reached and trusted, and who connects: a digest.
    """

    host: str
    rest: str


@frozen
class Connection:
    """A loaded configuration.

    Args:
        configuration: The official client's configuration, its authentication included.
        namespace: The namespace to use where the caller names none.
        context: The kubeconfig's context that it was read from.
        expires: When its credentials end, in seconds since 1970; never, as far as is known.
        renew_at: When they are to be renewed.
        files: What it was read from, each with what told its version.
    """

    configuration: Any
    namespace: str
    context: str | None = None
    expires: float = math.inf
    renew_at: float = math.inf
    files: tuple[tuple[str, Stamp], ...] = ()

    def has_changed(self) -> bool:
        """Return whether one of its files has been replaced, or written, since it was read."""
        return any(stamp_of(file) != stamp for file, stamp in self.files)

    @cached_property
    def identity(self) -> Identity:
        """What connections are made with."""
        given = self.configuration
        digest = hashlib.sha256()
        for name in _TLS:
            digest.update(f"{name}={getattr(given, name, None)!r}\n".encode())
        for name in _TLS_FILES:
            path = getattr(given, name, None)
            digest.update(Path(path).read_bytes() if path else b"-")
        return Identity(given.host, digest.hexdigest())

    @property
    def secret(self) -> tuple[str, Identity]:
        """What tells whether a renewal brought anything new."""
        return repr(self.configuration.api_key), self.identity


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
        timeout: Seconds within which each call ends that takes no ``timeout=`` of its own, such
            as ``start``, ``find`` and ``release``.

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
    timeout: float = field(default=30.0)

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

    @timeout.validator
    def _check_timeout(self, _: Attribute[Any], value: object) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and 0 < value < math.inf):  # type: ignore[operator]
            raise ConfigurationError(
                "Cluster.timeout", value, "must be a number of seconds, over 0"
            )

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
        began = time.time()
        try:
            made, namespace, context = await self._load()
            connection = Connection(
                configuration=made.configuration,
                namespace=self.namespace or namespace,
                context=context,
                expires=made.expires,
                renew_at=renewal_due(began, made.expires),
                files=tuple(made.files.items()),
            )
            _ready(connection)
        except OSError as error:
            reason = error.strerror or str(error)
            file = f"{error.filename}: " if error.filename else ""
            raise ConfigurationError(
                "Cluster", self._where(), f"cannot be used: {file}{reason}"
            ) from error
        return connection

    async def _load(self) -> tuple[Configured, str, str | None]:
        """Return the configuration, its namespace, and the name of its context."""
        if self.client is not None:
            return _adopt(self.client.configuration), "default", None
        if self.in_cluster or (not self._names_file() and _inside_pod()):
            files = incluster_config.SERVICE_TOKEN_FILENAME, incluster_config.SERVICE_CERT_FILENAME
            made = in_cluster(*files)
            own = Path(files[0]).with_name("namespace")
            return made, self.namespace or own.read_text().strip(), None
        context = read(self._files(), self.context)
        return await configured(context), context.namespace or "default", context.name

    def _names_file(self) -> bool:
        explicit = self.kubeconfig is not None or self.context is not None
        return explicit or bool(os.environ.get("KUBECONFIG"))

    def _files(self) -> list[str]:
        """Return the kubeconfig's path, or several as ``KUBECONFIG`` lists them."""
        listed = os.environ.get("KUBECONFIG") or "~/.kube/config"
        if self.kubeconfig is not None:
            listed = os.fspath(self.kubeconfig)
        files = [os.path.expanduser(file) for file in listed.split(os.pathsep) if file]
        if not any(map(os.path.exists, files)):
            raise ConfigurationError(
                "Cluster.kubeconfig", listed, "does not exist: name a kubeconfig file"
            )
        return files

    def _where(self) -> str:
        if self.client is not None:
            return "client"
        is_file = self._names_file() or not _inside_pod()
        return "in-cluster" if self.in_cluster or not is_file else os.pathsep.join(self._files())


def _inside_pod() -> bool:
    return bool(os.environ.get(incluster_config.SERVICE_HOST_ENV_NAME)) and (
        Path(incluster_config.SERVICE_TOKEN_FILENAME).is_file()
    )


def _ready(connection: Connection) -> None:
    """Set what podfleet decides itself, and read what the connections will be made with."""
    configuration = connection.configuration
    # podfleet owns the retries, and reads proxy settings once: aiohttp's trust_env would
    # look through the environment and ~/.netrc on every request.
    configuration.retries = None
    configuration.client_session_kwargs = {"trust_env": False}
    if not configuration.proxy:
        configuration.proxy = _environment_proxy(configuration.host)
    _ = connection.identity  # now: the files may be replaced


def _adopt(given: Any) -> Configured:
    """Return an aio configuration with the connection settings of any `ApiClient`'s."""
    made = Configured()
    configuration = made.configuration
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
    for name in _TLS_FILES:
        if file := getattr(configuration, name, None):
            content = made.read(file)
            if name == "cert_file":
                made.ends(certificate_ends(content))
    if configuration.refresh_api_key_hook is None:  # else that knows
        for token in configuration.api_key.values():
            made.ends(token_ends(str(token).rpartition(" ")[2]))
    return made


def _environment_proxy(host: str) -> str | None:
    url = urlsplit(host)
    if not url.hostname or proxy_bypass(url.hostname):
        return None
    return getproxies().get(url.scheme)
