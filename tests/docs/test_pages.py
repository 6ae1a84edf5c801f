"""The docs as a reader sees them, at a desktop's and a phone's size, dark and light.

The pictures are kept in build/screenshots, to be looked at.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from playwright.sync_api import Browser, ViewportSize

from tests.browser.chromium import DESKTOP, PHONE, SCHEMES, Scheme, chromium, faults, keep

pytestmark = pytest.mark.xdist_group("pages")  # one build, and one browser, for all

ROOT = Path(__file__).parents[2]
PAGES = (
    "index",
    "tutorial/embedded",
    "guides/choose-a-strategy",
    "strategies",
    "command",
    "comparison",
    "scaling",
)
TALL = 6000  # what of a page is in its picture, at the most: the reference has ten times as much


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.add(value)


@pytest.fixture(scope="module")
def site() -> Path:
    """Build the docs where `make docs` does, which takes long for the first time only."""
    built = ROOT / "build" / "docs"
    options = ["-n", "-W", "--keep-going", "-q", "-b", "html"]
    subprocess.run([sys.executable, "-m", "sphinx", *options, ROOT / "docs", built], check=True)
    return built


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("shape", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_nothing_is_cut_and_all_can_be_read(
    site: Path, browser: Browser, shape: str, size: tuple[int, int], scheme: Scheme
) -> None:
    viewport: ViewportSize = {"width": size[0], "height": size[1]}
    with browser.new_context(viewport=viewport, color_scheme=scheme) as context:
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        # As long as all the others together: each size and each scheme once.
        reference = ("api",) if (size, scheme) in ((DESKTOP, "dark"), (PHONE, "light")) else ()
        for name in (*PAGES, *reference):
            page.goto((site / f"{name}.html").as_uri())
            picture = keep(page, f"docs-{name.replace('/', '-')}-{shape}-{scheme}", TALL)
            assert faults(page, apart=".sidebar-drawer, .toc-drawer") == [], f"see {picture}"
        assert said == []


def test_links_within_the_docs_lead_somewhere(site: Path) -> None:
    sources = (ROOT / "docs").rglob("*.md")  # of pages that are no more there may be an old build
    built = [site / path.relative_to(ROOT / "docs").with_suffix(".html") for path in sources]
    pages = {path: Page(path.read_text()) for path in built}
    lost = set()
    for path, page in pages.items():
        for link in page.links:
            if urlsplit(link).scheme:
                continue
            target, anchor = urldefrag(link)
            found = (path.parent / unquote(urlsplit(target).path)).resolve() if target else path
            known = (
                pages[found].anchors if found in pages else {anchor} if found.exists() else set()
            )
            if unquote(anchor) not in known:
                lost.add(f"{path.relative_to(site)}: {link}")
    assert lost == set()
