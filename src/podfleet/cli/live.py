"""A text that is shown live, on the whole terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

__all__ = ["show"]

_PAUSE = 1.0  # seconds between two looks


async def show(text: Callable[[ConsoleDimensions], Awaitable[str]]) -> None:
    """Show it, until this is cancelled.

    Args:
        text: Returns it, for a terminal of this size; asked once a second.
    """
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            shown = Text(await text(console.size), no_wrap=True, overflow="ellipsis")
            live.update(shown, refresh=True)
            await asyncio.sleep(_PAUSE)
