"""The shell lines of the guides and the tutorial run too, as far as they speak to the cluster.

In the order of the page, in bash, with the cluster's own kubectl; of what they say, only the
names of namespaces are replaced.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.fixtures import LiveCluster
from tests.docs.test_snippets import IMAGE, ROOT, blocks

PAGES = sorted([*(ROOT / "docs/guides").glob("*.md"), *(ROOT / "docs/tutorial").glob("*.md")])
RUN = {"kubectl", "python"}
ELSEWHERE = {
    # What sets up a machine that a reader has and the tests have not.
    *("curl", "sudo", "ssh", "chmod", "export", "kind", "minikube"),
    # The tests install podfleet, and the conformance suite is among them.
    *("pip", "pytest"),
}
CONFIG = {"#", "kind:", "apiVersion:", "nodes:"}


def lines(page: Path) -> Iterator[str]:
    """Yield each command of a page; one that goes on over several lines is one."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for line in re.sub(r"\\\n\s*", "", prose).splitlines():
        if re.match(r"    \S", line) and line.split()[0] not in CONFIG:
            yield line.strip()


def words(page: Path) -> set[str]:
    """Return what a page's commands begin with."""
    return {line.split()[0] for line in lines(page)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_line_is_run_or_known_not_to_be(page: Path) -> None:
    assert words(page) <= RUN | ELSEWHERE


@pytest.fixture
def games(
    cluster: LiveCluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Give the namespace that the pages make; with kubectl, and the files that they speak of."""
    games = f"{namespace}-games"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, words in {"kubectl": cluster.kubectl_program, "python": [sys.executable]}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("TOKEN", "secret")
    for name in ("play", "wildcard"):
        self_signed = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=example.com"
        subprocess.run(
            [*self_signed.split(), "-keyout", f"{name}.key", "-out", f"{name}.crt"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    manifests = next(blocks(ROOT / "docs/tutorial/cloud.md")).lstrip()
    within = manifests.replace('    "arena",\n', '    "arena",\n    namespace="games",\n', 1)
    text = IMAGE.sub(cluster.image, within).replace("games", games)
    (tmp_path / "manifests.py").write_text(text)
    yield games
    cluster.kubectl("delete", "namespace", games, "--ignore-not-found")
    cluster.kubectl("annotate", "node", "node-a", "example.com/public-ip-")


@pytest.mark.only("real", "kubectl of the cluster's own version is built with it")
@pytest.mark.usefixtures("as_a_reader")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if RUN & words(page)], ids=lambda page: page.stem
)
def test_the_lines_that_speak_to_the_cluster_run(
    page: Path, games: str, namespace: str, tmp_path: Path
) -> None:
    script = "\n".join(line for line in lines(page) if line.split()[0] in RUN)
    script = re.sub(r"\bistio-system\b", namespace, re.sub(r"\bgames\b", games, script))
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
