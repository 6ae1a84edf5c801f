"""Every Python block of the README and the docs runs, in order, as a reader would run it.

The blocks of one file are one program. It runs against the test cluster, which it finds by
``KUBECONFIG`` as a reader's would, in a namespace of its own; of what it says, only the image is
replaced.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from podfleet.tracing import uninstrument
from tests.docs.conftest import TheCluster

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMAGE = re.compile(r"ghcr\.io/acme/arena:[0-9.]+")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[str]:
    """Yield each block, behind as many empty lines as put it on its line of the page."""
    text = page.read_text()
    for block in BLOCK.finditer(text):
        yield "\n" * text.count("\n", 0, block.start(1)) + block.group(1)


@pytest.mark.usefixtures("as_a_reader")
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(blocks(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_python_blocks_of_a_page_run(page: Path, cluster: TheCluster) -> None:
    program: dict[str, object] = {"__name__": "__main__"}
    try:
        for block in blocks(page):
            exec(compile(IMAGE.sub(cluster.image, block), page, "exec"), program)
    finally:
        uninstrument()  # a reader's program has its spans until it ends; this one goes on
