"""Credential plugins: what they are told, what they may answer, and how they end."""

import asyncio
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from podfleet import Cluster, ConfigurationError
from podfleet.kube import Connection, plugin
from podfleet.kube.credentials import Credentials

V1 = "client.authentication.k8s.io/v1"
SECRET = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.c2VjcmV0"


class Desk:
    """A folder with a kubeconfig, and the plugin that it names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "config"

    def script(self, body: str, name: str = "plugin") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(stat.S_IRWXU)
        return path

    def answers(self, answer: object) -> Path:
        (self.folder / "answer").write_text(json.dumps(answer))
        return self.script(f"cat {self.folder}/answer")

    def cluster(self, command: str = "./plugin", **more: Any) -> Cluster:
        config = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
            "clusters": [{"name": "it", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [
                {"name": "me", "user": {"exec": {"apiVersion": V1, "command": command, **more}}}
            ],
        }
        self.file.write_text(yaml.safe_dump(config))
        return Cluster(kubeconfig=self.file)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def credential(**status: Any) -> dict[str, Any]:
    return {"apiVersion": V1, "kind": "ExecCredential", "status": status}


def load(cluster: Cluster) -> Connection:
    return asyncio.run(cluster.load())


def refused(cluster: Cluster) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(cluster)
    assert "user 'me'" in str(caught.value)
    assert "config'" in str(caught.value)  # the file
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_its_token_and_its_time(desk: Desk) -> None:
    desk.answers(credential(token="abc", expirationTimestamp="2026-11-27T22:00:00Z"))
    connection = load(desk.cluster())
    assert connection.configuration.api_key == {"BearerToken": "Bearer abc"}
    assert connection.expires == 1795816800.0
    assert str(desk.file) in dict(connection.files)


@pytest.mark.parametrize("command", ["./plugin", "bin/plugin"])
def test_a_relative_command_begins_at_the_kubeconfigs_folder(
    desk: Desk, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.script(f"echo '{json.dumps(credential(token='abc'))}'", command)
    monkeypatch.chdir("/")
    assert load(desk.cluster(command)).configuration.api_key == {"BearerToken": "Bearer abc"}


def test_a_bare_command_is_found_on_the_path(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.answers(credential(token="abc"))
    monkeypatch.setenv("PATH", str(desk.folder), prepend=os.pathsep)
    load(desk.cluster("plugin"))


def test_what_it_is_told(desk: Desk) -> None:
    desk.script(
        f'echo "$KUBERNETES_EXEC_INFO" > {desk.folder}/told; echo "$REGION$HOME$1" '
        f"> {desk.folder}/env; echo '{json.dumps(credential(token='abc'))}'; ! read line"
    )
    env = [{"name": "REGION", "value": "here"}]
    load(desk.cluster(provideClusterInfo=True, env=env, args=["-x"]))
    told = json.loads((desk.folder / "told").read_text())
    assert told == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": "http://127.0.0.1:1"}},
    }
    assert (desk.folder / "env").read_text().strip() == f"here{os.environ['HOME']}-x"


def test_its_own_words_are_told_without_a_token(desk: Desk) -> None:
    desk.script(f"echo 'Bearer {SECRET}'; echo the session has ended: {SECRET}: log in >&2; exit 7")
    said = refused(desk.cluster())
    assert "ended with exit code 7: the session has ended: [...]: log in" in said


def test_a_missing_command_is_told_with_its_hint(desk: Desk) -> None:
    said = refused(desk.cluster("no-such-plugin", installHint="Install it from the cloud."))
    assert "cannot be run: no-such-plugin: No such file or directory. Install it from" in said


def test_a_command_that_cannot_be_run_is_told(desk: Desk) -> None:
    (desk.folder / "plugin").write_text("no program")
    assert "cannot be run: " in refused(desk.cluster())


WRONG: dict[str, tuple[object, str]] = {
    "a list": ([], "printed no ExecCredential"),
    "another kind": ({"apiVersion": V1, "kind": "Pod"}, "printed no ExecCredential"),
    "another version": (
        {"apiVersion": "v0", "kind": "ExecCredential", "status": {}},
        f"printed an ExecCredential of 'v0', not of {V1}",
    ),
    "no status": ({"apiVersion": V1, "kind": "ExecCredential"}, "without a status"),
    "nothing in it": (credential(), "with neither a token nor a certificate"),
    "a number": (credential(token=7), "whose token is no text"),
    "no key": (credential(clientCertificateData="x"), "without its key"),
    "no time": (credential(token=SECRET, expirationTimestamp="soon"), "that is no time"),
}


@pytest.mark.parametrize(("answer", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_told(desk: Desk, answer: object, words: str) -> None:
    desk.answers(answer)
    assert words in refused(desk.cluster())


def test_an_answer_that_is_no_json_is_told_but_not_shown(desk: Desk) -> None:
    desk.script(f"echo {SECRET}")
    assert refused(desk.cluster()).endswith("printed no JSON")
    desk.script("true")
    assert refused(desk.cluster()).endswith("printed nothing")


def test_an_endless_answer_is_cut(desk: Desk) -> None:
    desk.script("yes")
    assert "printed more than 1048576 bytes" in refused(desk.cluster())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "has the apiVersion"),
        ({"interactiveMode": "Always"}, "asks on a terminal"),
        ({"args": "x"}, "has args that are not a list of texts"),
        ({"args": [1]}, "has args that are not a list of texts"),
        ({"env": [{"name": "x"}]}, "has an env that is not a list"),
        ({"env": "x"}, "has an env that is not a list"),
        ({"command": ""}, "has no command"),
        ({"command": 7}, "has a command that is no text"),
    ],
)
def test_a_wrong_entry_is_told(desk: Desk, more: dict[str, Any], words: str) -> None:
    desk.answers(credential(token="abc"))
    assert words in refused(desk.cluster(**{"command": "./plugin", **more}))


HANGS = "echo waiting for the browser >&2; sleep 300 & echo $$ $! > pids; cat pids >> all; wait"


def hanging(desk: Desk) -> None:
    desk.script(f"cd {desk.folder}; {HANGS}")


def processes(desk: Desk) -> list[int]:
    file = desk.folder / "all"
    return [int(one) for one in file.read_text().split()] if file.exists() else []


async def until_it_hangs(desk: Desk) -> None:
    async with asyncio.timeout(10):
        while len(processes(desk)) < 2:
            await asyncio.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"  # its parent, which was killed too, cannot reap it


async def until_gone(desk: Desk) -> None:
    async with asyncio.timeout(10):
        while not all(map(is_gone, processes(desk))):
            await asyncio.sleep(0.01)


def test_one_that_hangs_is_killed_with_all_that_it_started(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "_LIMIT", 0.5)  # seconds
    hanging(desk)
    began = time.monotonic()
    said = refused(desk.cluster())
    assert "did not end within 0.5 s, and was killed: waiting for the browser" in said
    assert time.monotonic() - began < 10
    asyncio.run(until_gone(desk))


def test_one_caller_that_is_cancelled_leaves_it_to_the_others(desk: Desk) -> None:
    desk.script(
        f"cd {desk.folder}; echo $$ 0 >> all; while ! [ -e go ]; do sleep 0.05; done; "
        f"echo '{json.dumps(credential(token='abc'))}'"
    )

    async def play() -> None:
        credentials = Credentials(desk.cluster(), lambda _: None)
        callers = [asyncio.create_task(credentials.current()) for _ in range(3)]
        await until_it_hangs(desk)
        callers[0].cancel()
        (desk.folder / "go").touch()
        found = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert isinstance(found[1], Connection)
        assert found[1] is found[2]
        await credentials.stop()

    asyncio.run(play())
    assert len(processes(desk)) == 2  # it ran once


def test_it_is_ended_at_once_when_the_client_is_closed(desk: Desk) -> None:
    hanging(desk)

    async def play() -> None:
        credentials = Credentials(desk.cluster(), lambda _: None)
        caller = asyncio.create_task(credentials.current())
        await until_it_hangs(desk)
        began = time.monotonic()
        await credentials.stop()
        assert time.monotonic() - began < 5  # of 30
        with pytest.raises(Exception, match="the fleet was stopped"):
            await caller
        await until_gone(desk)

    asyncio.run(play())


def test_one_that_fails_is_not_run_for_each_request(desk: Desk) -> None:
    desk.script(f"echo $$ 0 >> {desk.folder}/all; exit 1")

    async def play() -> None:
        credentials = Credentials(desk.cluster(), lambda _: None)
        began = time.monotonic()
        asked = 0
        while time.monotonic() - began < 2:
            asked += 1
            with pytest.raises(ConfigurationError, match="ended with exit code 1"):
                await credentials.current()
            await asyncio.sleep(0.01)
        assert asked > 10
        assert len(processes(desk)) / 2 <= 6

    asyncio.run(play())
