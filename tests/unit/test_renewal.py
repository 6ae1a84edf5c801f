"""Credentials are renewed in time, over the same connections where that can be."""

import asyncio
import contextlib
import json
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from podfleet import Cluster, ConfigurationError, TransportError, Unauthorized
from podfleet.kube import credentials
from podfleet.kube.expiry import certificate_ends
from podfleet.kube.transport import Transport


class Api:
    """An API server that knows what it is asked with."""

    def __init__(self) -> None:
        self.valid: set[str] = {"one"}
        self.tokens: list[str] = []
        self.names: list[str] = []
        self.connections: set[int] = set()
        self.url = ""
        self._lines: list[asyncio.Queue[bytes]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.connections.add(id(request.transport))
        certificate = request.transport.get_extra_info("peercert")
        if certificate:
            self.names.append(dict(one[0] for one in certificate["subject"])["commonName"])
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.tokens.append(token)
        if not certificate and token not in self.valid:
            return web.json_response({"code": 401, "reason": "Unauthorized"}, status=401)
        if "watch" not in request.query:
            return web.json_response({})
        lines = asyncio.Queue[bytes]()
        self._lines.append(lines)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(await lines.get())

    def say(self, line: bytes) -> None:
        for lines in self._lines:
            lines.put_nowait(line + b"\n")


@contextlib.asynccontextmanager
async def api(tls: ssl.SSLContext | None = None) -> AsyncIterator[Api]:
    made = Api()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    made.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def transport(cluster: Cluster) -> AsyncIterator[Transport]:
    made = Transport(cluster)
    try:
        yield made
    finally:
        await made.close()


def config(folder: Path, url: str, user: dict[str, Any], **cluster: Any) -> Cluster:
    content = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        "clusters": [{"name": "it", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "me", "user": user}],
    }
    (folder / "config").write_text(yaml.safe_dump(content))
    return Cluster(kubeconfig=folder / "config")


class Reader:
    """Reads a watch."""

    def __init__(self, made: Transport) -> None:
        self.lines: list[bytes] = []
        self._transport = made
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for line in self._transport.watch("/watch", {}, silence=60.0):
            self.lines.append(line)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.lines) < count and not self.task.done():
                await asyncio.sleep(0.01)
        assert len(self.lines) == count

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def until_watched(made: Api, times: int = 1) -> None:
    async with asyncio.timeout(10):
        while len(made._lines) < times:
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_LOOK", 0.05)
    monkeypatch.setattr(credentials, "_AGAIN", (0.05, 0.05))


def test_a_token_file_that_is_replaced_is_read_before_a_401(tmp_path: Path) -> None:
    async def play() -> None:
        async with api() as server:
            (tmp_path / "token").write_text("one")
            cluster = config(tmp_path, server.url, {"tokenFile": "token"})
            async with transport(cluster) as client:
                reader = Reader(client)
                await until_watched(server)
                await client.send("GET", "/a")
                (tmp_path / "next").write_text("two")
                (tmp_path / "next").replace(tmp_path / "token")
                server.valid.add("two")
                await asyncio.sleep(0.1)  # two looks at the file
                await client.send("GET", "/b")  # begins the renewal
                async with asyncio.timeout(5):
                    while server.tokens[-1] != "two":
                        await client.send("GET", "/c")
                server.valid.discard("one")
                server.say(b"still")
                await reader.until(1)
                await reader.end()
            assert len(server.connections) == 2  # the watch's, and the requests'

    asyncio.run(play())


def test_after_a_401_the_request_is_sent_again_and_no_watch_is_lost(tmp_path: Path) -> None:
    async def play() -> None:
        async with api() as server:
            cluster = config(tmp_path, server.url, {"token": "one"})
            async with transport(cluster) as client:
                reader = Reader(client)
                await until_watched(server)
                config(tmp_path, server.url, {"token": "two"})
                server.valid = {"two"}
                await asyncio.gather(*(client.send("GET", "/a") for _ in range(20)))
                server.say(b"still")
                await reader.until(1)
                await reader.end()

    asyncio.run(play())


def test_another_current_context_moves_nobody(tmp_path: Path) -> None:
    async def play() -> None:
        async with api() as server, api() as other:
            cluster = config(tmp_path, server.url, {"token": "one"})
            async with transport(cluster) as client:
                await client.send("GET", "/a")
                content = yaml.safe_load((tmp_path / "config").read_text())
                content["current-context"] = "other"
                content["contexts"].append(
                    {"name": "other", "context": {"cluster": "other", "user": "me"}}
                )
                content["clusters"].append({"name": "other", "cluster": {"server": other.url}})
                content["users"][0]["user"] = {"token": "two"}
                (tmp_path / "config").write_text(yaml.safe_dump(content))
                server.valid = {"two"}
                await client.send("GET", "/b")
            assert not other.tokens

    asyncio.run(play())


def test_a_kubeconfig_that_is_broken_meanwhile_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        async with api() as server:
            cluster = config(tmp_path, server.url, {"token": "one"})
            async with transport(cluster) as client:
                await client.send("GET", "/a")
                (tmp_path / "config").write_text("users: [")
                async with asyncio.timeout(5):
                    while "could not be renewed" not in caplog.text:
                        await client.send("GET", "/b")
                        await asyncio.sleep(0.01)
                server.valid = {"two"}
                with pytest.raises(Unauthorized, match=r"could not be renewed: .*is not YAML"):
                    await client.send("GET", "/c")
                config(tmp_path, server.url, {"token": "two"})
                async with asyncio.timeout(10):
                    while True:
                        with contextlib.suppress(Unauthorized):
                            await client.send("GET", "/d")
                            break
                        await asyncio.sleep(0.01)

    asyncio.run(play())
    assert caplog.text.count("could not be renewed") == 1


def test_a_plugins_token_is_renewed_before_its_end(tmp_path: Path) -> None:
    plugin, runs = tmp_path / "plugin", tmp_path / "runs"
    status = '{"token": "t%s", "expirationTimestamp": "%s"}'
    plugin.write_text(
        f"#!/bin/sh\necho x >> {runs}\n"
        "end=$(date -u -d '+2 seconds' +%Y-%m-%dT%H:%M:%S.%6NZ)\n"
        'printf \'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", \'\n'
        f"printf '\"status\": {status}}}' $(wc -l < {runs}) $end\n"
    )
    plugin.chmod(0o700)

    async def play() -> None:
        async with api() as server:
            user = {
                "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin"}
            }
            async with transport(config(tmp_path, server.url, user)) as client:
                server.valid = {f"t{number}" for number in range(100)}
                began = time.monotonic()
                while time.monotonic() - began < 7:
                    await client.send("GET", "/a")
                    await asyncio.sleep(0.01)
                times = len(runs.read_text().split())
                assert 2 <= times <= 7, times  # every 1.5 s
                assert server.tokens[-1] == f"t{times}"

    asyncio.run(play())


def test_a_refusal_for_good_runs_the_plugin_now_and_then(tmp_path: Path) -> None:
    plugin, runs = tmp_path / "plugin", tmp_path / "runs"
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "wrong"},
    }
    plugin.write_text(f"#!/bin/sh\necho x >> {runs}; echo '{json.dumps(answer)}'\n")
    plugin.chmod(0o700)

    async def play() -> None:
        async with api() as server:
            user = {
                "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin"}
            }
            async with transport(config(tmp_path, server.url, user)) as client:
                began, asked = time.monotonic(), 0
                while time.monotonic() - began < 3:
                    with pytest.raises(Unauthorized):
                        await client.send("GET", "/a")
                    asked += 1
                    await asyncio.sleep(0.01)
                assert asked > 10
                assert len(runs.read_text().split()) <= 8
                server.valid.add("wrong")
                await client.send("GET", "/a")

    asyncio.run(play())


def test_a_hook_that_fails_is_told() -> None:
    def hook(_: object) -> None:
        raise RuntimeError("log in again")

    configuration = type.__call__(Configuration)
    configuration.host = "http://127.0.0.1:1"
    configuration.api_key = {"BearerToken": "Bearer one"}
    configuration.refresh_api_key_hook = hook
    given = Cluster(client=SimpleNamespace(configuration=configuration))

    async def play() -> None:
        async with transport(given) as client:
            with pytest.raises(ConfigurationError, match="RuntimeError: log in again"):
                await client.send("GET", "/a")

    asyncio.run(play())


def test_the_hook_of_a_given_client_is_asked_for_each_request() -> None:
    async def play() -> None:
        async with api() as server:
            configuration = type.__call__(Configuration)
            configuration.host = server.url
            configuration.api_key = {"BearerToken": "Bearer none"}
            asked: list[int] = []

            def hook(own: Any) -> None:
                asked.append(0)
                own.api_key["BearerToken"] = f"Bearer t{len(asked)}"

            configuration.refresh_api_key_hook = hook
            server.valid = {"t1", "t2", "t3"}
            given = Cluster(client=SimpleNamespace(configuration=configuration))
            async with transport(given) as client:
                for _ in range(3):
                    await client.send("GET", "/a")
            assert server.tokens == ["t1", "t2", "t3"]

    asyncio.run(play())


def test_a_token_that_is_no_header_is_not_shown(tmp_path: Path) -> None:
    async def play() -> None:
        async with api() as server:
            cluster = config(tmp_path, server.url, {"token": "hush\r\nhush"})
            async with transport(cluster) as client:
                with pytest.raises(ConfigurationError, match="cannot be sent") as caught:
                    await client.send("GET", "/a")
                assert "hush" not in str(caught.value)

    asyncio.run(play())


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file, self.key = folder / "ca.crt", folder / "ca.key"
        self._run("req", "-x509", *self._new(self.key), "-days", "1", "-subj", "/CN=ca", "-out")

    def _run(self, *arguments: object) -> None:
        subprocess.run(
            ["openssl", *map(str, arguments), self.file], check=True, capture_output=True
        )

    @staticmethod
    def _new(key: Path) -> tuple[object, ...]:
        return (
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            key,
        )

    def sign(self, name: str, certificate: Path, key: Path, *, alternative: str = "") -> None:
        request, extensions = self.folder / "request", self.folder / "extensions"
        extensions.write_text(f"subjectAltName=IP:{alternative}\n" if alternative else "\n")
        for arguments in (
            ["req", "-new", *self._new(key), "-subj", f"/CN={name}", "-out", request],
            [
                *("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key),
                *("-days", "1", "-CAcreateserial", "-extfile", extensions, "-out", certificate),
            ],
        ):
            subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def test_a_client_certificate_that_is_replaced_is_used_beside_the_old_one(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.sign("server", tmp_path / "s.crt", tmp_path / "s.key", alternative="127.0.0.1")
    authority.sign("first", tmp_path / "c.crt", tmp_path / "c.key")
    assert abs(certificate_ends((tmp_path / "c.crt").read_bytes()) - time.time() - 86400) < 60
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    tls.load_cert_chain(tmp_path / "s.crt", tmp_path / "s.key")
    tls.verify_mode = ssl.CERT_REQUIRED

    async def play() -> None:
        async with api(tls) as server:
            user = {"client-certificate": "c.crt", "client-key": "c.key"}
            cluster = config(tmp_path, server.url, user, **{"certificate-authority": "ca.crt"})
            async with transport(cluster) as client:
                reader = Reader(client)
                await until_watched(server)
                await client.send("GET", "/a")
                assert set(server.names) == {"first"}
                # For a moment the two do not fit: what was read before is used.
                authority.sign("second", tmp_path / "d.crt", tmp_path / "d.key")
                (tmp_path / "d.crt").replace(tmp_path / "c.crt")
                for _ in range(20):
                    await client.send("GET", "/b")
                    await asyncio.sleep(0.01)
                (tmp_path / "d.key").replace(tmp_path / "c.key")
                async with asyncio.timeout(10):
                    while server.names[-1] != "second":
                        await client.send("GET", "/b")
                        await asyncio.sleep(0.01)
                server.say(b"still")
                await reader.until(1)
                assert len(client._retiring) == 1
                await reader.end()
                async with asyncio.timeout(10):
                    while client._retiring:
                        await asyncio.sleep(0.01)

    asyncio.run(play())


def test_what_is_open_when_the_client_is_closed_ends(tmp_path: Path) -> None:
    async def play() -> None:
        async with api() as server:
            cluster = config(tmp_path, server.url, {"token": "one"})
            async with transport(cluster) as client:
                reader = Reader(client)
                await until_watched(server)
                await client.close()
                await asyncio.wait([reader.task], timeout=1)
                assert isinstance(reader.task.exception(), TransportError)
                with pytest.raises(TransportError, match="its fleet was stopped"):
                    await client.send("GET", "/a")

    asyncio.run(play())
