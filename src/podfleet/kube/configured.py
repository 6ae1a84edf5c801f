"""From a kubeconfig's context to the official client's configuration."""

from __future__ import annotations

import base64
import math
import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from attrs import define, field
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import kube_config

from podfleet.errors import ConfigurationError
from podfleet.kube.expiry import certificate_ends, token_ends
from podfleet.kube.kubeconfig import Context, Entry, Stamp, stamp_of
from podfleet.kube.plugin import ask

__all__ = ["Configured", "configured", "in_cluster"]

_CERTIFICATE = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----.*?-----END [A-Z0-9 ]*CERTIFICATE-----", re.DOTALL
)
_EXTENSION = "client.authentication.k8s.io/exec"  # client-go: tools/clientcmd/api, ExecConfig


@define(eq=False)
class Configured:
    """A configuration while it is put together.

    Args:
        configuration: The official client's.
        expires: When its credentials end, in seconds since 1970.
        files: The files that it was read from, each with its version before that.
    """

    configuration: Any = field(factory=lambda: type.__call__(Configuration))
    expires: float = math.inf
    files: dict[str, Stamp] = field(factory=dict)
    _folder: str | None = field(default=None, init=False)

    def bear(self, token: str) -> None:
        """Take a bearer token."""
        self.configuration.api_key["BearerToken"] = f"Bearer {token.strip()}"
        self.ends(token_ends(token))

    def ends(self, moment: float) -> None:
        """Take note that one of its credentials ends then."""
        self.expires = min(self.expires, moment)

    def read(self, file: str) -> bytes:
        """Return what a file holds."""
        self.files[file] = stamp_of(file)  # before: it may be replaced right now
        return Path(file).read_bytes()

    def keep(self, name: str, content: bytes) -> str:
        """Return a file with this content, for OpenSSL; it is gone with the configuration."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="podfleet-")
            weakref.finalize(self.configuration, shutil.rmtree, self._folder, ignore_errors=True)
        path = Path(self._folder, name)
        path.touch(mode=0o600)
        path.write_bytes(content)
        return str(path)

    def trust(self, authority: bytes) -> None:
        """Take the certificates of the cluster's CA.

        Not as a file: a Pod may have no place where one can be written.
        """
        found = _CERTIFICATE.findall(authority)  # without the comments between, in any encoding
        # What is none is passed on, and never empty: OpenSSL refuses it, and trusts no others.
        self.configuration.ca_cert_data = (
            b"\n".join(found).decode("ascii", "replace") if found else authority or b"-"
        )

    def identify(self, certificate: bytes, key: bytes) -> None:
        """Take a client certificate, with its key."""
        self.configuration.cert_file = self.keep("client.crt", certificate)
        self.configuration.key_file = self.keep("client.key", key)
        self.ends(certificate_ends(certificate))


async def configured(context: Context) -> Configured:
    """Return the configuration of a kubeconfig's context; its plugin is run, if it has one.

    Raises:
        ConfigurationError: Something in it is wrong.
    """
    made = Configured(files=dict(context.files))
    authority = _reach(made, context.cluster)
    if context.user is not None:
        await _identify(made, context.user, context.cluster, authority)
    return made


def _reach(made: Configured, cluster: Entry) -> bytes | None:
    """Say where the cluster is and how it is trusted; return its CA's certificates."""
    configuration, server = made.configuration, cluster.text("server")
    if server is None:
        raise cluster.wrong("names no server")
    authority = cluster.data("certificate-authority-data")
    if "://" not in server:  # client-go: rest/url_utils.go, DefaultServerURL
        is_trusted = authority or cluster.text("certificate-authority")
        server = f"{'https' if is_trusted else 'http'}://{server}"
    if not server.lower().startswith(("http://", "https://")):
        raise cluster.wrong("names a server that is no URL of http or https")
    configuration.host = server.rstrip("/")
    if server.lower().startswith("https://"):
        if authority is None and (path := cluster.path("certificate-authority")) is not None:
            authority = made.read(path)
        if authority is not None:
            made.trust(authority)
    configuration.verify_ssl = not cluster.flag("insecure-skip-tls-verify")
    configuration.tls_server_name = cluster.text("tls-server-name")
    configuration.proxy = cluster.text("proxy-url")
    return authority


async def _identify(made: Configured, user: Entry, cluster: Entry, authority: bytes | None) -> None:
    """Say who connects."""
    certificate, key = _pair(made, user)
    if user.values.get("auth-provider"):
        await _by_provider(made, user)
    elif user.values.get("exec"):
        answer = await ask(user, _told(cluster, authority))
        made.ends(answer.expires)
        if answer.token is not None:
            made.bear(answer.token)
        if answer.certificate is not None and answer.key is not None:
            certificate, key = answer.certificate, answer.key
    elif (path := user.path("tokenFile")) is not None:
        made.bear(_decoded(user, "tokenFile", made.read(path)))
    elif (token := user.text("token")) is not None:
        made.bear(token)
    elif (name := user.text("username")) is not None:
        basic = f"{name}:{user.text('password') or ''}".encode()
        made.configuration.api_key["BearerToken"] = f"Basic {base64.b64encode(basic).decode()}"
    if certificate is not None and key is not None and made.configuration.host.startswith("https"):
        made.identify(certificate, key)


def _pair(made: Configured, user: Entry) -> tuple[bytes | None, bytes | None]:
    """Return the user's client certificate and key."""
    found = []
    for name in ("client-certificate", "client-key"):
        content = user.data(f"{name}-data")
        if content is None and (path := user.path(name)) is not None:
            content = made.read(path)
        found.append(content)
    certificate, key = found
    if (certificate is None) != (key is None):
        raise user.wrong("has a client certificate without its key, or the reverse")
    return certificate, key


def _decoded(user: Entry, key: str, content: bytes) -> str:
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise user.wrong(f"names a {key} that holds no text") from None
    if not text:
        raise user.wrong(f"names a {key} that is empty")
    return text


def _told(cluster: Entry, authority: bytes | None) -> dict[str, Any]:
    """Return what a plugin is to know of a cluster, if it asks for that."""
    told: dict[str, Any] = {
        key: cluster.values[key]
        for key in ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
        if cluster.values.get(key)
    }
    if authority is not None:
        told["certificate-authority-data"] = base64.b64encode(authority).decode()
    for one in cluster.values.get("extensions") or []:
        if isinstance(one, dict) and one.get("name") == _EXTENSION:
            told["config"] = one.get("extension")
    return told


async def _by_provider(made: Configured, user: Entry) -> None:
    """Have the official client ask one of the old providers, ``gcp`` or ``oidc``."""
    only = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": made.configuration.host}}],
        "users": [{"name": "it", "user": {"auth-provider": user.values["auth-provider"]}}],
    }
    spare = type.__call__(Configuration)
    try:
        await kube_config.load_kube_config_from_dict(only, client_configuration=spare)
    except ConfigurationError:
        raise
    except Exception as error:
        raise user.wrong(f"got no token from its auth-provider: {error}") from error
    for value in spare.api_key.values():
        made.bear(value.removeprefix("Bearer "))


def in_cluster(token_file: str, authority_file: str) -> Configured:
    """Return the configuration of a Pod's service account."""
    made = Configured()
    wrong = Entry("service account", "token", {}, token_file)
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
    if not host or not port:
        raise ConfigurationError(
            "Cluster.in_cluster",
            True,
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: is this a Pod?",
        )
    made.configuration.host = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    made.bear(_decoded(wrong, "file", made.read(token_file)))
    made.trust(made.read(authority_file))
    return made
