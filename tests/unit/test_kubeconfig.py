"""Kubeconfigs: how several are merged, and what is told of those that are wrong."""

import asyncio
import base64
import copy
import math
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import incluster_config

from podfleet import Cluster, ConfigurationError
from podfleet.kube import Connection
from podfleet.kube.transport import Transport

GOOD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "it",
    "contexts": [{"name": "it", "context": {"cluster": "here", "user": "me", "namespace": "g"}}],
    "clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "me", "user": {"token": "abc"}}],
}


def load(cluster: Cluster) -> Connection:
    return asyncio.run(cluster.load())


def write(file: Path, content: object) -> Path:
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def changed(*path: Any, to: object) -> dict[str, Any]:
    config = copy.deepcopy(GOOD)
    where: Any = config
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = to
    return config


CLUSTER, USER = ("clusters", 0, "cluster"), ("users", 0, "user")

WRONG: dict[str, tuple[object, str]] = {
    "empty": ("", "is empty"),
    "no YAML": ("a: [\nb: secret", r"is not YAML \(line 3\)"),
    "binary": ("\x00\x01", "is not YAML"),
    "a list": ([1], "is no kubeconfig, but a list in YAML"),
    "a text": ("hello", "is no kubeconfig, but a str in YAML"),
    "no context": (changed("contexts", to=None), "has no context 'it': it has none"),
    "no current context": (
        changed("current-context", to=""),
        r"has no current-context: name a context \(it\)",
    ),
    "contexts, a mapping": (changed("contexts", to={"a": 1}), "its contexts are no list"),
    "contexts, words": (changed("contexts", to=["a"]), "one of its contexts has no name"),
    "a context, a list": (changed("contexts", 0, "context", to=[1]), "its context 'it' is no"),
    "no cluster": (changed("clusters", to=[]), "has no cluster 'here': it has none"),
    "no user": (changed("users", to=[]), "has no user 'me': it has none"),
    "a number as a name": (changed("users", 0, "name", to=7), "one of its users has no name"),
    "no server": (changed(*CLUSTER, to={}), "its cluster 'here' names no server"),
    "a server, a number": (changed(*CLUSTER, "server", to=7), "has a server that is no text"),
    "another scheme": (changed(*CLUSTER, "server", to="ftp://a"), "no URL of http or https"),
    "no CA file": (
        changed(*CLUSTER, "certificate-authority", to="no.crt"),
        "names a certificate-authority that does not exist: .*/no.crt",
    ),
    "CA, no base64": (
        changed(*CLUSTER, "certificate-authority-data", to="@@@"),
        "has certificate-authority-data that is not base64",
    ),
    "CA, no certificate": (
        changed(*CLUSTER, "certificate-authority-data", to="aGVsbG8="),
        "its certificates or keys cannot be used",
    ),
    "a flag, words": (
        changed(*CLUSTER, "insecure-skip-tls-verify", to="yes"),
        "neither true nor false",
    ),
    "a token, a number": (changed(*USER, "token", to=7), "its user 'me' has a token that is no"),
    "no token file": (changed(*USER, "tokenFile", to="no"), "names a tokenFile that does not"),
    "a certificate alone": (
        changed(*USER, "client-certificate-data", to="aGVsbG8="),
        "a client certificate without its key",
    ),
    "exec, a list": (changed(*USER, "exec", to=["a"]), "has an exec that is no mapping"),
    "an odd provider": (
        changed(*USER, "auth-provider", to={"name": "oidc"}),
        "got no token from its auth-provider",
    ),
}


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_one_is_told_with_its_file(tmp_path: Path, content: object, words: str) -> None:
    file = write(tmp_path / "config", content)

    async def connect() -> None:
        transport = Transport(Cluster(kubeconfig=file))
        try:
            await transport.connect()
        finally:
            await transport.close()

    with pytest.raises(ConfigurationError, match=words) as caught:
        asyncio.run(connect())
    if "certificates or keys" not in words:
        assert str(file) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load(Cluster(kubeconfig=tmp_path))


paths = st.sampled_from(
    [(key,) for key in GOOD]
    + [(key, 0) for key in ("contexts", "clusters", "users")]
    + [("contexts", 0, "context", key) for key in ("cluster", "user", "namespace")]
    + [(*CLUSTER, key) for key in ("server", "certificate-authority", "proxy-url", "extensions")]
    + [(*USER, key) for key in ("token", "tokenFile", "username", "client-key", "exec")]
)
values = st.sampled_from(
    [None, 0, 1.5, True, "", "x", "\ud7ff", [], [None], ["x"], {}, {"a": None}, [{"name": "it"}]]
)


@given(paths, values)
def test_whatever_is_written_there_is_taken_or_told(path: tuple[Any, ...], value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder, "config"), changed(*path, to=value))
        told = str(file)
        try:
            load(Cluster(kubeconfig=file))
        except ConfigurationError as error:
            told = str(error)
        assert str(file) in told


def test_several_are_merged_as_kubectl_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {key: GOOD[key] for key in ("current-context", "contexts")}
    other = changed("current-context", to="other")
    other["users"][0]["user"]["token"] = "def"
    files = [
        write(tmp_path / "first", first),
        tmp_path / "missing",
        write(tmp_path / "empty", ""),
        write(tmp_path / "second", GOOD),
        write(tmp_path / "third", other),
    ]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)))
    connection = load(Cluster())
    assert connection.configuration.api_key == {"BearerToken": "Bearer abc"}
    assert (connection.context, connection.namespace) == ("it", "g")


def test_a_relative_path_begins_at_the_folder_of_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users"
    users.mkdir()
    (users / "token").write_text("from-file\n")
    first = {key: value for key, value in GOOD.items() if key != "users"}
    second = {"users": [{"name": "me", "user": {"tokenFile": "token"}}]}
    files = [write(tmp_path / "first", first), write(users / "second", second)]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)))
    connection = load(Cluster())
    assert connection.configuration.api_key == {"BearerToken": "Bearer from-file"}
    assert str(users / "token") in dict(connection.files)
    assert not connection.has_changed()
    (users / "token").write_text("another\n")
    assert connection.has_changed()


def test_a_password_is_sent_as_such(tmp_path: Path) -> None:
    config = changed(*USER, to={"username": "me", "password": "pass"})
    connection = load(Cluster(kubeconfig=write(tmp_path / "config", config)))
    basic = base64.b64encode(b"me:pass").decode()
    assert connection.configuration.api_key == {"BearerToken": f"Basic {basic}"}
    assert connection.expires == math.inf


def test_the_service_account_of_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ConfigurationError, match=r"in-cluster.*token: No such file"):
        load(Cluster(in_cluster=True))
    token.write_text("e30.eyJleHAiOjE3OTU3NDg0MDB9.c2ln\n")
    authority.write_text("")
    (tmp_path / "namespace").write_text("games\n")
    connection = load(Cluster(in_cluster=True))
    assert connection.configuration.host == "https://[fd00::1]:443"
    assert connection.namespace == "games"
    assert connection.expires == 1795748400.0


def test_the_authority_of_a_cluster_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root of a Pod's file system may be read-only, and there is no /tmp then."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    bundle = f"# Zoë's CA\n{pem}\n\n{pem}\n"
    for name, text in (("token", "t"), ("ca.crt", bundle), ("namespace", "games")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    config = changed(*CLUSTER, "certificate-authority", to="ca.crt")
    for cluster in (
        Cluster(in_cluster=True),
        Cluster(kubeconfig=write(tmp_path / "config", config)),
    ):
        assert load(cluster).configuration.ca_cert_data == f"{pem}\n{pem}"


def test_an_empty_authority_does_not_become_that_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("")
    config = changed(*CLUSTER, "certificate-authority", to="ca.crt")
    assert load(Cluster(kubeconfig=write(tmp_path / "config", config))).configuration.ca_cert_data


def test_a_client_whose_file_is_missing_is_told() -> None:
    configuration = type.__call__(Configuration)
    configuration.ssl_ca_cert = "/nowhere/ca.crt"
    with pytest.raises(ConfigurationError, match=r"/nowhere/ca\.crt: No such file"):
        load(Cluster(client=SimpleNamespace(configuration=configuration)))
