"""A link from one file of the repository to another leads somewhere, as it is shown there."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "docs", ROOT / "examples", ROOT / ".github")
PAGES = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in folder.rglob("*.md"))]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[str]:
    """Yield what a page links to, pictures too, but no address of the web."""
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if not urlsplit(link).scheme:
            yield link


def anchors(page: Path) -> set[str]:
    """Return what can be linked to in a page: its headings, as a forge names them."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in links(page):
        target, anchor = urldefrag(link)
        found = (page.parent / target).resolve() if target else page
        there = found.exists() and (not anchor or anchor in anchors(found))
        lost += [] if there else [link]
    assert lost == []
