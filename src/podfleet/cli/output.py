"""What a command prints: columns or sentences for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size

__all__ = ["Format", "Output", "columns", "cut", "print_json"]

_GAP = "  "


class Format(StrEnum):
    """How a command prints what it found."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[
    Format, typer.Option("--output", "-o", help="Print for people, or as JSON for programs.")
]


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2))


def columns(head: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None) -> str:
    """Return a table whose columns are as wide as they must be. Pure.

    Args:
        head: What is above the columns.
        rows: Their cells.
        width: Cells of the terminal: the widest columns are cut to fit, the first one last, for
            it names the row, and heads never; by default nothing is cut.

    Example:
        >>> rows = [("arena-1", "ready"), ("a-2", "allocated")]
        >>> print(columns(("name", "state"), rows))
        NAME     STATE
        arena-1  ready
        a-2      allocated
        >>> print(columns(("name", "state"), rows, width=15))
        NAME     STATE
        arena-1  ready
        a-2      all…ed
    """
    lines = [[cell.upper() for cell in head], *rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    if width is not None:
        widths = _fitted(widths, [cell_len(cell) for cell in head], width)
    return "\n".join(
        _GAP.join(
            set_cell_size(cut(cell, width), width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def cut(text: str, width: int) -> str:
    """Return a text of at most so many cells of a terminal. Pure.

    What is too much is left out of its middle, for names differ at their end.

    Example:
        >>> cut("gke-games-pool-3f5a91c2-x7k2", 12)
        'gke-ga…-x7k2'
    """
    if cell_len(text) <= width:
        return text
    behind = (width - 1) // 2
    before = width - 1 - behind
    return f"{set_cell_size(text, before)}…{set_cell_size(text[::-1], behind)[::-1]}"


def _fitted(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Take cells from the widest column until all fit, or none has any to give."""
    fitted = list(widths)
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - room
    for _ in range(excess):
        able = [index for index, width in enumerate(fitted) if width > least[index]]
        if not able:
            break
        fitted[max(able, key=lambda index: (index > 0, fitted[index]))] -= 1
    return fitted
