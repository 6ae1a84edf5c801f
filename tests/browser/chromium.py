"""Debian's Chromium, and what is wrong with the pages that it shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, FloatRect, Page, sync_playwright

__all__ = ["DESKTOP", "PHONE", "SCHEMES", "Scheme", "chromium", "faults", "keep"]

Scheme = Literal["dark", "light"]
SCHEMES: tuple[Scheme, ...] = ("dark", "light")
DESKTOP, PHONE = (1280, 800), (390, 844)
PICTURES = Path(__file__).parents[2] / "build" / "screenshots"

_FAULTS = Path(__file__).with_name("faults.js").read_text()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give a browser, which is closed at the end."""
    program = shutil.which("chromium")
    if program is None:
        _cannot("there is no chromium in PATH; `python .ci/browser.py`, as root, installs Debian's")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


def keep(page: Page, name: str, tall: int | None = None) -> Path:
    """Keep a picture of a page in build/screenshots, to be looked at.

    Args:
        page: The page.
        name: The picture's.
        tall: How much of it at the most, in pixels; by default what is in the window.
    """
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture = PICTURES / f"{name}.png"
    if tall is None:
        page.screenshot(path=picture)
        return picture
    wide, high = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    shown: FloatRect = {"x": 0, "y": 0, "width": wide, "height": min(high, tall)}
    page.screenshot(path=picture, full_page=True, clip=shown)
    return picture


def faults(page: Page, apart: str) -> list[str]:
    """Return what a person would see to be wrong.

    Args:
        page: The page.
        apart: A selector of what is not looked at.
    """
    found: list[str] = page.evaluate(_FAULTS, apart)
    return found


def _cannot(reason: str) -> None:
    """Skip, with the reason; in CI a skipped check is a failed one."""
    words = f"no page can be shown here: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(words, pytrace=False)
    pytest.skip(words)
